// Times in the document: relative ones, and moments.

import { ago, exact, moment } from './run/format.js';

/** Rewrites every relative time in `root`, and puts moments into the reader's own time. */
export function refreshTimes(root = document) {
  for (const time of root.querySelectorAll('time[data-moment]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    time.textContent = moment(at);
    time.title = exact(at);
  }
  for (const time of root.querySelectorAll('time[data-ago]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    time.textContent = ago(at, Date.now());
    time.title = exact(at);
  }
}
