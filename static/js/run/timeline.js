// The picture of a run: step names in a gutter, bars on one time axis, the playhead. Drawn on canvas, visible rows only.

import { h, perFrame } from '../dom.js';
import { duration, money } from './format.js';
import { layOut } from './lanes.js';
import { Scale, idleGaps } from './scale.js';
import { label, sentence } from './words.js';

const AXIS_PX = 24;
const COST_PX = 30;
const NARROW_PX = 560;
const ROW_PX = 26;
const ROW_STACKED_PX = 44;
const BAR_PX = 14;
const EDGE_PX = 20;
/** Room at the right for labels of the last bars. */
const TAIL_PX = 12;

const roles = ['surface-0', 'surface-1', 'surface-2', 'surface-3', 'line', 'line-strong', 'ink', 'ink-muted', 'ink-faint', 'accent', 'fail', 'wait', 'bar-1', 'bar-2', 'bar-3', 'bar-step'];

export class Timeline {
  #rows = [];
  #laidOut = -1;
  #gaps = [];
  #folded = false;
  #scale = new Scale(0, 1, 1);
  #selected = null;
  #playhead = null;
  #until = 0;
  #colours = {};
  #hover = null;
  #follows = true;

  /** `on`: select(item), seek(ms), scrub(isDragging). */
  constructor(host, model, runName, on) {
    Object.assign(this, { host, model, runName, on });
    this.axis = h('canvas', { class: 'tl-axis', 'aria-hidden': 'true' });
    this.canvas = h('canvas', { class: 'tl-canvas', role: 'img', 'aria-label': 'Timeline' });
    this.spacer = h('div', { class: 'tl-spacer' });
    this.scroller = h('div', { class: 'tl-scroll', tabindex: '-1' }, this.canvas, this.spacer);
    this.cost = h('canvas', { class: 'tl-cost', 'aria-hidden': 'true', hidden: true });
    this.later = h('div', { class: 'tl-later', hidden: true });
    this.head = h('div', { class: 'tl-head', hidden: true, role: 'slider', tabindex: '0', 'aria-label': 'Playhead' }, h('span', { class: 'tl-handle' }));
    this.tip = h('div', { class: 'tl-tip', hidden: true });
    this.fold = h('button', { class: 'button small tl-fold', type: 'button', hidden: true, onclick: () => { this.#folded = !this.#folded; this.draw(); } });
    host.append(this.axis, this.scroller, this.cost, this.later, this.head, this.tip, this.fold);
    this.draw = perFrame(() => this.#draw());
    new ResizeObserver(() => this.draw()).observe(host);
    this.scroller.addEventListener('scroll', () => {
      this.#follows = this.scroller.scrollTop + this.scroller.clientHeight >= this.scroller.scrollHeight - 4;
      this.draw();
    }, { passive: true });
    document.addEventListener('themechange', () => this.#readColours());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#readColours());
    this.#readColours();
    this.#listen();
  }

  /** What is shown: up to which moment the run has come, the selected item, the playhead (null: at the end). */
  show({ until, selected, playhead, live }) {
    this.#live = live;
    if (selected !== this.#selected && selected) this.#reveal = selected;
    this.#until = until;
    this.#selected = selected;
    this.#playhead = playhead;
    this.draw();
  }

  #reveal = null;
  #live = false;

  get scale() { return this.#scale; }

  #readColours() {
    const probe = h('span', { hidden: true });
    this.host.append(probe);
    for (const role of roles) {
      probe.style.color = `var(--${role})`;
      this.#colours[role] = getComputedStyle(probe).color;
    }
    this.#colours.font = getComputedStyle(document.body).fontFamily;
    probe.remove();
    this.draw();
  }

  #prepare() {
    const { model } = this;
    if (this.#laidOut !== model.version) {
      this.#laidOut = model.version;
      this.#rows = layOut(model, this.runName);
      this.#gaps = model.firstAt === null ? [] : idleGaps(model.items, model.firstAt, Math.max(this.#until, model.lastAt));
      this.canvas.setAttribute('aria-label', `Timeline with ${this.#rows.length} rows. The list of entries below says the same in words.`);
    }
    this.width = this.host.clientWidth;
    this.narrow = this.width < NARROW_PX;
    this.gutter = this.narrow ? EDGE_PX / 2 : Math.min(220, Math.max(140, this.width * 0.18));
    this.rowPx = this.narrow ? ROW_STACKED_PX : ROW_PX;
    const from = model.firstAt ?? 0;
    const to = Math.max(this.#until, model.lastAt ?? 1, from + 1);
    this.#scale = new Scale(from, to, Math.max(this.width - this.gutter - EDGE_PX - TAIL_PX, 10), this.#folded ? this.#gaps : []);
    const idle = this.#gaps.reduce((sum, [a, b]) => sum + (b - a), 0);
    const share = idle / (to - from);
    this.fold.hidden = this.#gaps.length === 0 || share < 0.3;
    if (!this.fold.hidden) this.fold.textContent = this.#folded ? 'Unfold idle time' : `${duration(idle)} idle · fold`;
  }

  #canvas(element, width, height) {
    const ratio = devicePixelRatio || 1;
    const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (element.width !== w || element.height !== t) {
      element.width = w;
      element.height = t;
      element.style.width = `${width}px`;
      element.style.height = `${height}px`;
    }
    const paint = element.getContext('2d');
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    paint.textBaseline = 'middle';
    return paint;
  }

  #text(paint, size, weight = 400) { paint.font = `${weight} ${size}px ${this.#colours.font}`; }

  #draw() {
    if (this.host.clientWidth === 0) return;
    this.#prepare();
    const total = this.#rows.length * this.rowPx;
    const wanted = Math.min(total, Math.max(150, Math.min(360, innerHeight * 0.38)));
    this.scroller.style.height = `${wanted}px`;
    this.spacer.style.height = `${Math.max(total - wanted, 0)}px`;
    const reveal = this.#reveal;
    this.#reveal = null;
    if (reveal) this.#scrollTo(reveal, wanted);
    else if (this.#follows && this.#playhead === null && this.#live) this.scroller.scrollTop = total;
    const top = this.scroller.scrollTop;
    this.#drawAxis();
    this.#drawRows(top, wanted);
    this.#drawCost();
    this.#placeHead();
  }

  #scrollTo(item, height) {
    const row = this.#rows.findIndex((candidate) => candidate.bars.includes(item) || candidate.marks.includes(item) || (candidate.head && candidate.step === item));
    if (row < 0) return;
    const y = row * this.rowPx;
    if (y < this.scroller.scrollTop) this.scroller.scrollTop = y;
    else if (y + this.rowPx > this.scroller.scrollTop + height) this.scroller.scrollTop = y + this.rowPx - height;
  }

  #drawAxis() {
    const c = this.#colours;
    const paint = this.#canvas(this.axis, this.width, AXIS_PX);
    const { marks, step } = this.#scale.ticks(this.narrow ? 70 : 96);
    this.#text(paint, 11);
    paint.fillStyle = c['ink-faint'];
    for (const [at, x] of marks) {
      const text = at === 0 ? '0' : step >= 1000 && at < 60_000 ? `${at / 1000} s` : at < 1000 ? `${+at.toPrecision(6)} ms` : at < 60_000 ? `${+(at / 1000).toFixed(3)} s` : duration(at);
      const left = this.gutter + x + 4;
      if (left + paint.measureText(text).width < this.width) paint.fillText(text, left, AXIS_PX / 2);
    }
    paint.fillStyle = c.line;
    for (const [, x] of marks) paint.fillRect(Math.round(this.gutter + x), 6, 1, AXIS_PX - 6);
    for (const piece of this.#scale.pieces) {
      if (!piece.fold) continue;
      paint.fillStyle = c['ink-faint'];
      paint.fillText('≈', this.gutter + piece.x + piece.span / 2 - 4, AXIS_PX / 2);
    }
    paint.fillStyle = c.line;
    paint.fillRect(0, AXIS_PX - 1, this.width, 1);
  }

  #drawRows(top, height) {
    const c = this.#colours;
    const paint = this.#canvas(this.canvas, this.width, height);
    paint.save();
    paint.translate(0, -top);
    for (const [, x] of this.#scale.ticks(this.narrow ? 70 : 96).marks) {
      paint.fillStyle = c['surface-3'];
      paint.fillRect(Math.round(this.gutter + x), top, 1, height);
    }
    const first = Math.floor(top / this.rowPx);
    const last = Math.min(this.#rows.length - 1, Math.floor((top + height) / this.rowPx));
    for (let i = first; i <= last; i += 1) this.#drawRow(paint, this.#rows[i], i * this.rowPx);
    for (const piece of this.#scale.pieces) {
      if (!piece.fold) continue;
      const x = this.gutter + piece.x;
      paint.fillStyle = c['surface-2'];
      paint.fillRect(x + 4, top, piece.span - 8, height);
    }
    if (this.#live) {
      paint.fillStyle = c.accent;
      paint.fillRect(Math.round(this.gutter + this.#scale.x(this.#until)), top, 1.5, height);
    }
    paint.restore();
  }

  #drawRow(paint, row, y) {
    const c = this.#colours;
    const middle = this.narrow ? y + this.rowPx - 14 : y + this.rowPx / 2;
    const selectedHere = this.#selected && (row.step === this.#selected && row.head);
    if (selectedHere || row === this.#hover?.row) {
      paint.fillStyle = c['surface-2'];
      paint.fillRect(0, y, this.width, this.rowPx);
    }
    this.#drawName(paint, row, y);
    const end = this.#until;
    if (row.head) {
      const [from, to] = row.step ? [row.step.from, row.step.to ?? end] : [this.model.firstAt, this.model.finished?.at ?? end];
      const x = this.gutter + this.#scale.x(from);
      const w = Math.max(this.gutter + this.#scale.x(to) - x, 2);
      paint.fillStyle = c['bar-step'];
      this.#round(paint, x, middle - BAR_PX / 2 - 2, w, BAR_PX + 4, 4);
      if (row.step?.failed) {
        paint.fillStyle = c.fail;
        paint.fillRect(x + w - 2, middle - BAR_PX / 2 - 2, 2, BAR_PX + 4);
      }
      if (!row.step) this.#drawWaits(paint, middle);
    }
    let drawn = -Infinity;
    for (const item of row.bars) {
      const x = this.gutter + this.#scale.x(item.from);
      const right = this.gutter + this.#scale.x(item.to ?? end);
      // Bars thinner than what can be seen fall together; a failure or the selection is always drawn.
      if (right - drawn < 1 && !item.failed && item !== this.#selected) continue;
      drawn = Math.max(right, x + 1);
      this.#drawBar(paint, item, x, right, middle);
    }
    this.#drawMarks(paint, row, middle);
    this.#drawLabels(paint, row, middle);
  }

  #drawName(paint, row, y) {
    const c = this.#colours;
    this.#text(paint, 12, row.head ? 550 : 400);
    paint.fillStyle = row.head ? c.ink : c['ink-faint'];
    const depth = Math.min(row.depth, 6);
    const x = this.narrow ? EDGE_PX / 2 + depth * 8 : 8 + depth * 12;
    const room = (this.narrow ? this.width - 20 : this.gutter - 10) - x;
    paint.fillText(clip(paint, row.name, room), x, this.narrow ? y + 11 : y + this.rowPx / 2 + 0.5);
  }

  #drawBar(paint, item, x, right, middle) {
    const c = this.#colours;
    const w = Math.max(right - x, 3);
    const y = middle - BAR_PX / 2;
    paint.fillStyle = item.waits ? c['surface-3'] : item.failed ? c.fail : c[{ model: 'bar-1', web: 'bar-2', child: 'bar-2' }[item.family] ?? 'bar-3'];
    this.#round(paint, x, y, w, BAR_PX, Math.min(3, w / 2));
    if (item.waits) this.#hatch(paint, x, y, w, BAR_PX, c.wait);
    else if (item.interrupted) this.#hatch(paint, x, y, w, BAR_PX, c['surface-0']);
    const token = item.meta.first_token_ms;
    if (token > 0 && w > 12) {
      const tick = this.gutter + this.#scale.x(item.from + token);
      if (tick < right - 1) {
        paint.fillStyle = c['surface-0'];
        paint.fillRect(tick, y, 1.5, BAR_PX);
      }
    }
    if (item.failed) this.#cross(paint, x + w, middle);
    if (item.open) {
      paint.fillStyle = c.accent;
      paint.fillRect(x + w - 2, y - 1, 2, BAR_PX + 2);
    }
    if (item === this.#selected) {
      paint.strokeStyle = c.accent;
      paint.lineWidth = 2;
      paint.strokeRect(x - 2, y - 2, w + 4, BAR_PX + 4);
    }
  }

  /** A label stands right of its bar where there is room before the next one, else inside, else left, else not at all. */
  #drawLabels(paint, row, middle) {
    if (row.bars.length > 400) return;
    const c = this.#colours;
    this.#text(paint, 11);
    const limit = this.gutter + this.#scale.width + TAIL_PX + EDGE_PX - 4;
    let left = this.gutter;
    row.bars.forEach((item, i) => {
      const x = this.gutter + this.#scale.x(item.from);
      const right = this.gutter + this.#scale.x(item.to ?? this.#until) + (item.failed ? 8 : 0);
      const next = i + 1 < row.bars.length ? this.gutter + this.#scale.x(row.bars[i + 1].from) : limit;
      const time = item.to === null ? '' : duration(item.to - item.from);
      const text = row.head ? [label(item), time].filter(Boolean).join(' · ') : item.child ? [item.child.state, time].filter(Boolean).join(' · ') : time;
      const w = paint.measureText(text).width;
      let end = right;
      if (text === '') return;
      if (right + 6 + w < next) {
        paint.fillStyle = c['ink-muted'];
        paint.fillText(text, right + 6, middle + 0.5);
        end = right + 6 + w;
      } else if (w + 12 < right - x) {
        const tick = this.gutter + this.#scale.x(item.from + (item.meta.first_token_ms ?? 0));
        const at = tick < x + 12 + w && tick + 12 + w < right ? tick + 6 : x + 6;
        if (item.waits) return;
        paint.fillStyle = ['model', 'web', 'child'].includes(item.family) || item.failed ? c['surface-0'] : c.ink;
        paint.fillText(text, at, middle + 0.5);
      } else if (x - 6 - w > left + 4) {
        paint.fillStyle = c['ink-muted'];
        paint.fillText(text, x - 6 - w, middle + 0.5);
      }
      left = end;
    });
  }

  #drawMarks(paint, row, middle) {
    const c = this.#colours;
    let drawn = -Infinity;
    paint.lineWidth = 1;
    paint.setLineDash([2, 2]);
    for (const item of row.marks) {
      const x = Math.round(this.gutter + this.#scale.x(item.from)) + 0.5;
      const special = item.failed || item === this.#selected;
      if (x - drawn < 2 && !special) continue;
      drawn = x;
      paint.strokeStyle = item.failed ? c.fail : item === this.#selected ? c.accent : item.family === 'log' ? c['line-strong'] : c['ink-muted'];
      paint.beginPath();
      paint.moveTo(x, middle - 11);
      paint.lineTo(x, middle + 11);
      paint.stroke();
      if (item.failed) {
        paint.setLineDash([]);
        this.#cross(paint, x, middle - 8);
        paint.setLineDash([2, 2]);
      }
      if (item === this.#selected) {
        paint.fillStyle = c.accent;
        paint.fillRect(x - 3, middle - 12, 6, 3);
      }
    }
    paint.setLineDash([]);
  }

  /** Time in the queue, between two segments, and between a crash and its recovery: hatched, because nothing ran. */
  #drawWaits(paint, middle) {
    const c = this.#colours;
    const wait = (from, to) => {
      const x = this.gutter + this.#scale.x(from);
      const w = this.gutter + this.#scale.x(to) - x;
      if (w >= 3) this.#hatch(paint, x, middle - BAR_PX / 2 - 2, w, BAR_PX + 4, c['line-strong']);
    };
    const { items } = this.model;
    const started = items.find((item) => item.kind === 'run.started');
    if (this.model.firstAt !== null) wait(this.model.firstAt, started?.from ?? this.#until);
    let ended = null;
    for (const item of this.#rows[0].marks) {
      if (item.kind === 'segment.ended' || item.kind === 'segment.abandoned') ended = item.from;
      else if (ended !== null && (item.kind === 'segment.started' || item.kind === 'run.finished')) {
        wait(ended, item.from);
        ended = null;
      }
    }
    if (ended !== null) wait(ended, this.#until);
    for (const item of this.#rows[0].marks) if (item.kind === 'run.recovered') wait(items[item.index - 1]?.from ?? item.from, item.from);
  }

  #hatch(paint, x, y, w, height, colour) {
    paint.save();
    paint.beginPath();
    paint.rect(x, y, w, height);
    paint.clip();
    paint.strokeStyle = colour;
    paint.lineWidth = 1;
    paint.beginPath();
    const from = x - (x % 6) - height;
    for (let at = from; at < x + w; at += 6) {
      paint.moveTo(at, y + height);
      paint.lineTo(at + height, y);
    }
    paint.stroke();
    paint.restore();
  }

  #cross(paint, x, middle) {
    const c = this.#colours;
    paint.fillStyle = c['surface-0'];
    paint.beginPath();
    paint.arc(x, middle, 6, 0, Math.PI * 2);
    paint.fill();
    paint.strokeStyle = c.fail;
    paint.lineWidth = 1.75;
    paint.beginPath();
    paint.moveTo(x - 3, middle - 3);
    paint.lineTo(x + 3, middle + 3);
    paint.moveTo(x + 3, middle - 3);
    paint.lineTo(x - 3, middle + 3);
    paint.stroke();
  }

  #round(paint, x, y, w, height, radius) {
    paint.beginPath();
    paint.roundRect(x, y, w, height, radius);
    paint.fill();
  }

  #drawCost() {
    const { costs, totals } = this.model;
    this.cost.hidden = costs.length === 0;
    if (costs.length === 0) return;
    const c = this.#colours;
    const paint = this.#canvas(this.cost, this.width, COST_PX);
    const y = (micros) => COST_PX - 4 - (micros / totals.cost) * (COST_PX - 10);
    paint.fillStyle = c.line;
    paint.fillRect(0, 0, this.width, 1);
    this.#text(paint, 12);
    paint.fillStyle = c['ink-faint'];
    if (!this.narrow) paint.fillText(`Cost ${money(totals.cost)}`, 8, COST_PX / 2 + 1);
    paint.beginPath();
    paint.moveTo(this.gutter, y(0));
    let before = 0;
    for (const [at, micros] of costs) {
      const x = this.gutter + this.#scale.x(at);
      paint.lineTo(x, y(before));
      paint.lineTo(x, y(micros));
      before = micros;
    }
    const right = this.gutter + this.#scale.x(this.#until);
    paint.lineTo(right, y(before));
    paint.strokeStyle = c['bar-1'];
    paint.lineWidth = 1.5;
    paint.stroke();
    paint.lineTo(right, COST_PX);
    paint.lineTo(this.gutter, COST_PX);
    paint.closePath();
    paint.fillStyle = c['bar-step'];
    paint.fill();
  }

  #placeHead() {
    const at = this.#playhead;
    const x = this.gutter + this.#scale.x(at ?? this.#until);
    this.head.hidden = this.model.firstAt === null || (at === null && this.#live);
    this.head.style.transform = `translateX(${x}px)`;
    this.head.classList.toggle('at-end', at === null);
    this.later.hidden = at === null;
    this.later.style.transform = `translateX(${x}px)`;
    this.later.style.width = `${Math.max(this.width - x, 0)}px`;
    const from = this.model.firstAt ?? 0;
    this.head.setAttribute('aria-valuemin', '0');
    this.head.setAttribute('aria-valuemax', String(Math.round(this.#until - from)));
    this.head.setAttribute('aria-valuenow', String(Math.round((at ?? this.#until) - from)));
    this.head.setAttribute('aria-valuetext', `${duration((at ?? this.#until) - from)} of ${duration(this.#until - from)}`);
  }

  #timeAt(event) {
    return this.#scale.time(event.clientX - this.host.getBoundingClientRect().left - this.gutter);
  }

  #hit(event) {
    const box = this.scroller.getBoundingClientRect();
    const row = this.#rows[Math.floor((event.clientY - box.top + this.scroller.scrollTop) / this.rowPx)];
    if (!row) return null;
    const x = event.clientX - box.left;
    if (x < this.gutter) return { row, item: row.head ? row.step : null };
    const near = (item) => Math.abs(this.gutter + this.#scale.x(item.from) - x);
    let best = null;
    for (const item of row.marks) if (near(item) <= 5 && (!best || near(item) < near(best))) best = item;
    if (best) return { row, item: best };
    for (const item of row.bars) {
      const from = this.gutter + this.#scale.x(item.from);
      const to = Math.max(this.gutter + this.#scale.x(item.to ?? this.#until), from + 3);
      if (x >= from - 3 && x <= to + 3) best = item;
    }
    return { row, item: best ?? (row.head ? row.step : null), overBar: best !== null };
  }

  #listen() {
    let dragging = false;
    const seek = (event) => this.on.seek(this.#timeAt(event));
    const grab = (event) => {
      if (event.button !== 0) return;
      dragging = true;
      event.currentTarget.setPointerCapture(event.pointerId);
      this.on.scrub(true);
      seek(event);
    };
    const drop = () => {
      if (!dragging) return;
      dragging = false;
      this.on.scrub(false);
    };
    for (const element of [this.axis, this.head, this.cost]) {
      element.addEventListener('pointerdown', grab);
      element.addEventListener('pointermove', (event) => { if (dragging) seek(event); });
      element.addEventListener('pointerup', drop);
      element.addEventListener('pointercancel', drop);
    }
    this.canvas.addEventListener('click', (event) => {
      const hit = this.#hit(event);
      if (hit?.item) this.on.select(hit.item);
      else if (event.clientX - this.host.getBoundingClientRect().left >= this.gutter) seek(event);
    });
    this.canvas.addEventListener('pointermove', (event) => {
      if (event.pointerType === 'touch') return;
      const hit = this.#hit(event);
      if (hit?.row !== this.#hover?.row) this.draw();
      this.#hover = hit;
      this.#showTip(hit?.item, event);
    });
    this.canvas.addEventListener('pointerleave', () => {
      this.#hover = null;
      this.tip.hidden = true;
      this.draw();
    });
  }

  #showTip(item, event) {
    this.tip.hidden = !item;
    this.canvas.classList.toggle('over', Boolean(item));
    if (!item) return;
    const time = item.instant ? '' : ` · ${item.to === null ? 'under way' : duration(item.to - item.from)}`;
    this.tip.textContent = `${sentence(item)}${time}`;
    const box = this.host.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 12, Math.max(this.width - this.tip.offsetWidth - 4, 0));
    this.tip.style.transform = `translate(${x}px, ${event.clientY - box.top + 18}px)`;
  }
}

/** `text`, cut with an ellipsis to `room` pixels. */
function clip(paint, text, room) {
  if (paint.measureText(text).width <= room) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (paint.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? '' : `${text.slice(0, low)}…`;
}
