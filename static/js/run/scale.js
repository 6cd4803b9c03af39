// Time to pixels, with long idle stretches folded where asked for.

const IDLE_MIN_MS = 1500;
const IDLE_MIN_SHARE = 0.08;
const FOLD_PX = 34;

/** Stretches in which nothing was under way, long enough to be worth folding: [from, to] in ms. */
export function idleGaps(items, from, to) {
  const spans = [];
  for (const item of items) {
    // Who waits does nothing, however long its bar is.
    if (item.family === 'step' || item.kind === 'calls.all' || item.waits) continue;
    spans.push([item.from, item.to ?? to]);
  }
  spans.sort((a, b) => a[0] - b[0]);
  const gaps = [];
  const least = Math.max(IDLE_MIN_MS, (to - from) * IDLE_MIN_SHARE);
  let busy = from;
  for (const [start, end] of spans) {
    if (start - busy >= least) gaps.push([busy, start]);
    busy = Math.max(busy, end);
  }
  if (to - busy >= least) gaps.push([busy, to]);
  return gaps;
}

/** A piecewise linear scale over [from, to] on `width` pixels. */
export class Scale {
  constructor(from, to, width, folds = []) {
    this.from = from;
    this.to = Math.max(to, from + 1);
    this.width = width;
    const folded = folds.reduce((sum, [a, b]) => sum + (b - a), 0);
    this.rate = Math.max(width - folds.length * FOLD_PX, 1) / Math.max(this.to - this.from - folded, 1);
    this.pieces = [];
    let at = this.from;
    let x = 0;
    const piece = (end, span, fold) => { this.pieces.push({ from: at, to: end, x, span, fold }); at = end; x += span; };
    for (const [a, b] of folds) {
      if (a > at) piece(a, (a - at) * this.rate, false);
      piece(b, FOLD_PX, true);
    }
    if (at < this.to || this.pieces.length === 0) piece(this.to, Math.max(width - x, 0), false);
  }

  x(time) {
    const last = this.pieces.length - 1;
    let i = 0;
    while (i < last && time > this.pieces[i].to) i += 1;
    const { from, to, x, span } = this.pieces[i];
    return to === from ? x : x + ((Math.min(Math.max(time, from), to) - from) / (to - from)) * span;
  }

  time(x) {
    const last = this.pieces.length - 1;
    let i = 0;
    while (i < last && x > this.pieces[i].x + this.pieces[i].span) i += 1;
    const piece = this.pieces[i];
    if (piece.span === 0) return piece.from;
    return piece.from + (Math.min(Math.max(x - piece.x, 0), piece.span) / piece.span) * (piece.to - piece.from);
  }

  /** Round moments for the axis, as offsets from the start, at least `apart` pixels from each other. */
  ticks(apart) {
    const least = apart / this.rate;
    const power = 10 ** Math.floor(Math.log10(least));
    let step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= least) ?? power * 10;
    if (least > 1000) step = [1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 144e5, 432e5, 864e5].find((n) => n >= least) ?? 864e5;
    step = Math.max(step, 1);
    const marks = [];
    let lastX = -Infinity;
    for (let at = 0; at <= this.to - this.from && marks.length < 200; at += step) {
      const x = this.x(this.from + at);
      const inFold = this.pieces.some((piece) => piece.fold && this.from + at > piece.from && this.from + at < piece.to);
      if (inFold || x - lastX < apart * 0.8) continue;
      marks.push([at, x]);
      lastX = x;
    }
    return { step, marks };
  }
}
