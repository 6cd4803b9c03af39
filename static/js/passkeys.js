// Passkeys: asks the station what it wants, lets the browser answer, and sends the answer with the form.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));

const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(''))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

const withBytes = (list) => list?.map((one) => ({ ...one, id: bytes(one.id) }));

async function create({ publicKey }) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...publicKey, challenge: bytes(publicKey.challenge), user: { ...publicKey.user, id: bytes(publicKey.user.id) }, excludeCredentials: withBytes(publicKey.excludeCredentials),
    },
  });
  return {
    id: made.id, rawId: text(made.rawId), type: made.type, extensions: {},
    response: { attestationObject: text(made.response.attestationObject), clientDataJSON: text(made.response.clientDataJSON), transports: made.response.getTransports?.() ?? [] },
  };
}

async function get({ publicKey }) {
  const proof = await navigator.credentials.get({
    publicKey: { ...publicKey, challenge: bytes(publicKey.challenge), allowCredentials: withBytes(publicKey.allowCredentials) },
  });
  const { authenticatorData, clientDataJSON, signature, userHandle } = proof.response;
  return {
    id: proof.id, rawId: text(proof.rawId), type: proof.type, extensions: {},
    response: { authenticatorData: text(authenticatorData), clientDataJSON: text(clientDataJSON), signature: text(signature), userHandle: userHandle ? text(userHandle) : null },
  };
}

/** What the station asks for; null where it first wants to know again who one is, and the page goes there. */
async function options(form) {
  const answer = await fetch(form.dataset.options, {
    method: 'POST', headers: { accept: 'application/json' }, body: new URLSearchParams({ form_token: form.elements.form_token.value }),
  });
  const body = await answer.json();
  if (answer.ok) return body;
  if (body.code !== 'proof_required') throw new Error(body.detail);
  location.assign(`/prove?next=${encodeURIComponent(location.pathname)}`);
  return null;
}

function inWords(error) {
  if (error.name === 'NotAllowedError') return 'Nothing was chosen, or it took too long. Try once more.';
  if (error.name === 'InvalidStateError') return 'This device has a passkey for you already.';
  return error.message;
}

function setUp(form) {
  const said = form.querySelector('[data-passkey-error]');
  const button = form.querySelector('button');
  form.hidden = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    said.textContent = '';
    button.disabled = true;
    try {
      const asked = await options(form);
      if (!asked) return;
      const answer = await (form.dataset.passkey === 'create' ? create(asked) : get(asked));
      form.elements.ceremony.value = asked.ceremony;
      form.elements.credential.value = JSON.stringify(answer);
      form.submit();
    } catch (error) {
      said.textContent = inWords(error);
      button.disabled = false;
    }
  });
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll('form[data-passkey]')) setUp(form);
  for (const note of document.querySelectorAll('[data-passkey-unable]')) note.hidden = true;
}
