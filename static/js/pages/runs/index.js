// Lists of runs stay true while one looks at them: the page is asked for again and its live regions are exchanged.

import { fetchPage } from '../../page.js';
import { refreshTimes } from '../../times.js';

const EVERY_MS = 3000;
let asked = false;

function exchange(now, next) {
  const before = document.activeElement?.closest('[data-run]');
  const focused = now.contains(before) ? before.dataset.run : null;
  now.replaceChildren(...next.childNodes);
  refreshTimes(now);
  if (focused) now.querySelector(`[data-run="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
}

/** What a region says, without the times, which go on by themselves. */
function saying(region) {
  const copy = region.cloneNode(true);
  for (const time of copy.querySelectorAll('time')) time.textContent = '';
  return copy.textContent.replaceAll(/\s+/g, ' ');
}

async function refresh() {
  // Nothing moves under a pointer that is about to click, or on pages further back.
  if (document.hidden || asked || new URLSearchParams(location.search).has('cursor') || getSelection()?.type === 'Range') return;
  asked = true;
  const page = await fetchPage();
  asked = false;
  if (!page) return;
  for (const now of document.querySelectorAll('[data-live]')) {
    const next = page.querySelector(`[data-live="${CSS.escape(now.dataset.live)}"]`);
    if (next && saying(next) !== saying(now)) exchange(now, next);
  }
}

setInterval(refresh, EVERY_MS);
document.addEventListener('visibilitychange', refresh);
