// The queue: decided in place, and what comes in meanwhile is added below.

import { exchangeCards } from '../../approvals.js';
import { fetchPage } from '../../page.js';

const EVERY_MS = 3000;
const queue = document.querySelector('[data-queue="pending"]');
let asked = false;

async function refresh() {
  if (document.hidden || asked || new URLSearchParams(location.search).has('cursor')) return;
  asked = true;
  const page = await fetchPage();
  asked = false;
  if (!page) return;
  document.querySelector('[data-live="pending"]')?.replaceChildren(...(page.querySelector('[data-live="pending"]')?.childNodes ?? []));
  const next = page.querySelector('[data-queue]');
  if (!queue || !next) return;
  const before = queue.querySelector('[data-approval]') !== null;
  exchangeCards(queue, next);
  if (queue.querySelector('[data-approval]')) queue.querySelector('[data-none]')?.remove();
  else if (before && next.querySelector('[data-none]')) queue.replaceChildren(...next.childNodes);
}

setInterval(refresh, EVERY_MS);
document.addEventListener('visibilitychange', refresh);
document.addEventListener('approvaldecided', refresh);

// A and D are for the card in hand; the first is, until another is chosen.
if (document.activeElement === document.body) document.querySelector('[data-approval][data-open]')?.focus({ preventScroll: true });
