// Deciding without leaving the page: the forms of approval cards, wherever a card stands, the keys A and D, and the diff of an edit.

import { getJson, postJson } from './api.js';
import { diff } from './diff.js';
import { confirmed, h, icon } from './dom.js';
import { moment } from './run/format.js';
import { fetchPage } from './page.js';
import { refreshTimes } from './times.js';

const words = { approve: 'Approved by', edit: 'Approved with changes by', deny: 'Denied by', happened: 'It happened, says', send_again: 'It did not happen and is sent again, says', fail: 'The call fails, says' };
const good = ['approve', 'edit', 'happened', 'send_again'];

function lasted(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  const days = Math.floor(seconds / 86_400);
  return `${days} ${days === 1 ? 'day' : 'days'}`;
}

/** “Approved by Ana 14:02, 3 min after the request”, and why. */
function outcome(approval) {
  const { decision } = approval;
  if (!decision) return [h('p', { class: 'ap-outcome info' }, icon('clock'), h('span', {}, h('strong', {}, approval.state === 'expired' ? 'Nobody decided in time' : 'The run no longer asks for it')))];
  const ok = good.includes(decision.decision);
  return [
    h('p', { class: `ap-outcome ${ok ? 'ok' : 'fail'}` }, icon(ok ? 'ok' : 'fail'),
      h('span', {}, h('strong', {}, `${words[decision.decision] ?? decision.decision} ${decision.by_name ?? 'somebody'}`), ` ${moment(decision.at)}, ${lasted(decision.at - approval.created_at)} after the request`)),
    decision.reason ? h('p', { class: 'reading' }, decision.reason) : null,
  ].filter(Boolean);
}

function settle(card, approval, note = null) {
  card.removeAttribute('data-open');
  card.dataset.settled = '';
  card.querySelector('[data-approval-end]').replaceChildren(...(note ? [h('p', { class: 'ap-error', role: 'alert' }, icon('fail'), note)] : []), ...outcome(approval));
  document.dispatchEvent(new CustomEvent('approvaldecided', { detail: approval }));
}

function refuse(card, text) {
  const end = card.querySelector('[data-approval-end]');
  end.querySelector('.ap-error')?.remove();
  end.prepend(h('p', { class: 'ap-error', role: 'alert' }, icon('fail'), text));
}

/** What the form says, as the API takes it. */
function body(form) {
  const field = (name) => form.elements[name]?.value ?? '';
  const decision = field('decision');
  const said = { decision, reason: field('reason').trim() };
  if (decision === 'edit') said.arguments = JSON.parse(field('arguments'));
  if (decision === 'happened') {
    const raw = JSON.parse(form.closest('[data-approval]').querySelector('.ap-raw code').textContent);
    said.arguments = { status: Number(field('status')), headers: [], body: { text: field('body') }, url: raw.url ?? '' };
  }
  return said;
}

async function send(form) {
  const card = form.closest('[data-approval]');
  const address = `/api/v1/approvals/${encodeURIComponent(card.dataset.approval)}`;
  let said;
  try {
    said = body(form);
  } catch (error) {
    refuse(card, `This is no JSON: ${error.message}`);
    return;
  }
  if (said.decision === 'send_again' && !await confirmed({ title: 'Send it again?', text: 'If the first did arrive after all, it happens twice.', action: 'Send it again' })) return;
  const buttons = [...card.querySelectorAll('.ap-acts button')];
  for (const button of buttons) button.disabled = true;
  try {
    const approval = await postJson(`${address}/decision`, said);
    if (approval.state === 'pending') await showAgain(card);
    else settle(card, approval);
  } catch (error) {
    for (const button of buttons) button.disabled = false;
    if (error.code === 'conflict') settle(card, await getJson(address), `Somebody was first: ${error.message}`);
    else refuse(card, error.message);
  }
}

/** Several must agree: the card as it is now, with who did. */
async function showAgain(card) {
  const page = await fetchPage(`/approvals/${encodeURIComponent(card.dataset.approval)}`);
  const fresh = page?.querySelector('[data-approval]');
  if (!fresh) return;
  card.replaceWith(document.adoptNode(fresh));
  refreshTimes(fresh);
}

/** Shows what an edit changes, while it is typed. */
function showDiff(form) {
  const area = form.elements.arguments;
  const place = form.querySelector('[data-diff]');
  const error = form.querySelector('[data-json-error]');
  let after;
  try {
    after = JSON.stringify(JSON.parse(area.value), null, 2);
    error.textContent = '';
  } catch (problem) {
    error.textContent = `This is no JSON yet: ${problem.message}`;
    place.hidden = true;
    return;
  }
  const lines = diff(area.dataset.original, after);
  place.hidden = lines.every(([kind]) => kind === '');
  place.replaceChildren(...lines.map(([kind, line]) => h('div', { class: kind }, line)));
}

document.addEventListener('submit', (event) => {
  if (!event.target.matches('[data-decide]')) return;
  event.preventDefault();
  send(event.target);
});

document.addEventListener('input', (event) => {
  const form = event.target.closest('[data-edit]');
  if (form && event.target.name === 'arguments') showDiff(form);
});

const focusFirst = (details) => details?.querySelector('textarea, input:not([type="hidden"])')?.focus();

// One of a card's forms is open at a time, and one types at once.
document.addEventListener('toggle', (event) => {
  const details = event.target;
  if (!(details instanceof HTMLDetailsElement) || !details.open || !details.matches('.ap-acts > details')) return;
  for (const other of details.parentElement.querySelectorAll(':scope > details[open]')) if (other !== details) other.open = false;
  if (!details.contains(document.activeElement) || document.activeElement.matches('summary')) focusFirst(details);
}, true);

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog')) return;
  const card = event.target.closest('[data-approval][data-open]');
  // What is typed while a form is open is never a decision.
  if (!card || card.querySelector('.ap-acts details[open]')) return;
  const button = card.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!button) return;
  event.preventDefault();
  event.stopPropagation();
  button.click();
  // At once, not with the event that follows: the next key belongs to the reason.
  focusFirst(button.closest('details'));
});

/** Somebody else decided, or nobody may any more: the card stays and says so. */
async function settleLate(card) {
  card.dataset.settled = '';
  const note = card.querySelector('.ap-acts details[open]') ? 'Somebody was first. Nothing of yours was sent.' : null;
  try {
    settle(card, await getJson(`/api/v1/approvals/${encodeURIComponent(card.dataset.approval)}`), note);
  } catch {
    card.remove();
  }
}

/** Adds the cards of `next` that `region` has not, and settles those that are no longer there. */
export function exchangeCards(region, next) {
  const kept = new Map([...region.querySelectorAll('[data-approval]')].map((card) => [card.dataset.approval, card]));
  const wanted = new Map([...next.querySelectorAll('[data-approval]')].map((card) => [card.dataset.approval, card]));
  for (const [id, card] of kept) if (!wanted.has(id) && !('settled' in card.dataset)) settleLate(card);
  for (const [id, card] of wanted) {
    if (kept.has(id)) {
      const old = kept.get(id);
      // Somebody else has said what they think; what is being typed stays.
      if (old.dataset.votes !== card.dataset.votes && !('settled' in old.dataset) && !old.querySelector('.ap-acts details[open]')) {
        const fresh = document.adoptNode(card);
        old.replaceWith(fresh);
        refreshTimes(fresh);
      }
      continue;
    }
    const fresh = document.adoptNode(card);
    region.append(fresh);
    refreshTimes(fresh);
  }
}
