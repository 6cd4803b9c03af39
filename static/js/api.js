// The station's JSON API, as the signed-in person.

const formToken = () => document.querySelector('meta[name="form-token"]')?.content ?? '';

/** A problem reply (RFC 9457) or a broken connection, in words for people. */
export class Problem extends Error {
  constructor(message, status = 0, body = {}) {
    super(message);
    this.status = status;
    this.code = body.code;
    this.body = body;
  }
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...options });
  } catch {
    throw new Problem('The station did not answer. Check that it is running and that you are online.');
  }
  const text = await response.text();
  let body;
  try { body = text === '' ? null : JSON.parse(text); } catch { body = null; }
  if (!response.ok) {
    if (response.status === 401) throw new Problem('You are signed out. Sign in again in another tab, then try once more.', 401, body ?? {});
    throw new Problem(body?.detail ?? body?.title ?? `The station answered ${response.status}.`, response.status, body ?? {});
  }
  return body;
}

export const getJson = (path, { signal } = {}) => send(path, { signal, headers: { Accept: 'application/json' } });

export const postJson = (path, body = {}, { signal } = {}) => send(path, {
  method: 'POST', signal, body: JSON.stringify(body),
  headers: { 'Content-Type': 'application/json', Accept: 'application/json', 'X-Form-Token': formToken() },
});
