// Relative times in the document.

import { ago, exact } from './run/format.js';

/** Rewrites every relative time in `root`. */
export function refreshTimes(root = document) {
  for (const time of root.querySelectorAll('time[data-ago]')) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    time.textContent = ago(at, Date.now());
    time.title = exact(at);
  }
}
