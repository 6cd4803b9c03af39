// The entries as a list: one line each, only the visible ones in the document.

import { h, icon, perFrame, setIcon } from '../dom.js';
import { count, duration, offset } from './format.js';
import { words } from './words.js';

const ROW_PX = 28;
const ROW_TOUCH_PX = 40;
const SPARE_ROWS = 8;
const filters = {
  all: () => true,
  calls: (item) => !item.instant || ['memory', 'artifact'].includes(item.family),
  logs: (item) => item.family === 'log' || item.family === 'step' || item.family === 'emit' || item.family === 'progress',
  failures: (item) => item.failed || item.interrupted,
};

export class Log {
  #items = [];
  #seen = 0;
  #filter = 'all';
  #query = '';
  #selected = null;
  #playhead = null;
  #rows = [];
  #atEnd = true;
  #fresh = 0;

  /** `on`: select(item, byPerson). */
  constructor(host, model, on) {
    Object.assign(this, { model, on });
    this.rowPx = matchMedia('(pointer: coarse)').matches ? ROW_TOUCH_PX : ROW_PX;
    this.count = h('span', { class: 'meta' });
    this.choices = h('div', { class: 'segments', role: 'group', 'aria-label': 'Entries to show' },
      ['all', 'calls', 'logs', 'failures'].map((name) => h('button', { type: 'button', 'aria-pressed': String(name === 'all'), 'data-filter': name, onclick: () => this.#choose(name) }, name[0].toUpperCase() + name.slice(1))));
    this.find = h('input', { class: 'input log-find', type: 'search', placeholder: 'Find', 'aria-label': 'Find in the entries', oninput: () => { this.#query = this.find.value.trim().toLowerCase(); this.#refill(); } });
    this.list = h('div', { class: 'log-rows', role: 'listbox', tabindex: '0', 'aria-label': 'Entries' });
    this.box = h('div', { class: 'log-scroll' }, this.list);
    this.pill = h('button', { class: 'log-new', type: 'button', hidden: true, onclick: () => this.toEnd() });
    this.none = h('p', { class: 'log-none muted', hidden: true });
    host.append(h('div', { class: 'log-head' }, this.choices, this.find, this.count), h('div', { class: 'log-body' }, this.box, this.pill, this.none));
    this.draw = perFrame(() => this.#draw());
    this.box.addEventListener('scroll', () => {
      this.#atEnd = this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - this.rowPx;
      if (this.#atEnd) this.#fresh = 0;
      this.draw();
    }, { passive: true });
    this.list.addEventListener('click', (event) => {
      const row = event.target.closest('.log-row');
      if (row?.item) this.on.select(row.item, true);
    });
    this.list.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  /** Takes in what the model has more, and redraws what is visible. */
  update() {
    const before = this.#items.length;
    for (; this.#seen < this.model.items.length; this.#seen += 1) {
      const item = this.model.items[this.#seen];
      if (this.#wants(item)) this.#items.push(item);
    }
    const added = this.#items.length - before;
    if (added > 0 && before > 0 && !this.#atEnd) this.#fresh += added;
    if (this.#atEnd && this.#selected === null && this.following) this.#stick = true;
    this.draw();
  }

  #stick = false;
  /** Whether the list goes along with what happens. */
  following = false;

  show({ selected, playhead, reveal }) {
    this.#selected = selected;
    this.#playhead = playhead;
    if (reveal && selected) this.reveal(selected);
    this.draw();
  }

  toEnd() {
    this.#fresh = 0;
    this.box.scrollTop = this.#items.length * this.rowPx;
    this.draw();
  }

  reveal(item) {
    const at = this.#indexOf(item);
    const top = at * this.rowPx;
    const height = this.box.clientHeight;
    if (top < this.box.scrollTop + this.rowPx) this.box.scrollTop = Math.max(top - this.rowPx * 2, 0);
    else if (top + this.rowPx * 2 > this.box.scrollTop + height) this.box.scrollTop = top + this.rowPx * 3 - height;
  }

  /** The neighbour of `item` in the list as filtered; `item` may be null. */
  neighbour(item, by) {
    if (!item) return this.#items[by > 0 ? 0 : this.#items.length - 1] ?? null;
    const at = this.#indexOf(item);
    return this.#items[Math.min(Math.max(at + by, 0), this.#items.length - 1)] ?? null;
  }

  focus() { this.list.focus({ preventScroll: true }); }

  #indexOf(item) {
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#items[middle].index < item.index) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #wants(item) {
    if (!filters[this.#filter](item)) return false;
    if (this.#query === '') return true;
    const { verb, object, details } = words(item);
    return `${verb} ${object} ${details.join(' ')}`.toLowerCase().includes(this.#query);
  }

  #choose(name) {
    this.#filter = name;
    for (const button of this.choices.children) button.setAttribute('aria-pressed', String(button.dataset.filter === name));
    this.#refill();
  }

  #refill() {
    this.#items = this.model.items.filter((item) => this.#wants(item));
    this.#seen = this.model.items.length;
    this.box.scrollTop = 0;
    if (this.#selected) this.reveal(this.#selected);
    // At once: what was asked for must not be preceded by a frame of rows that are about to go.
    this.#draw();
  }

  #key(event) {
    const page = Math.max(Math.floor(this.box.clientHeight / this.rowPx) - 1, 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = this.#selected === null && by > 0 && by < 1e9 ? this.#items[0] : this.neighbour(this.#selected, by);
    if (next) {
      this.reveal(next);
      this.on.select(next, false);
    }
  }

  #row(i) {
    const row = h('div', { class: 'log-row', role: 'option', id: `row-${i}`, hidden: true },
      h('span', { class: 'at' }), h('span', { class: 'mark' }, icon('log')), h('span', { class: 'say' }, h('span', { class: 'verb' }), h('span', { class: 'object' }), h('span', { class: 'details' })), h('span', { class: 'took' }));
    this.list.append(row);
    return row;
  }

  #draw() {
    const total = this.#items.length * this.rowPx;
    this.list.style.height = `${total}px`;
    if (this.#stick) {
      this.#stick = false;
      this.box.scrollTop = total;
    }
    const first = Math.max(Math.floor(this.box.scrollTop / this.rowPx) - SPARE_ROWS, 0);
    const rows = Math.ceil(this.box.clientHeight / this.rowPx) + SPARE_ROWS * 2;
    while (this.#rows.length < rows) this.#rows.push(this.#row(this.#rows.length));
    const last = Math.min(first + rows, this.#items.length);
    let active = null;
    // An entry keeps its row while it is in view, so that what is about to be clicked does not become another.
    const before = first % this.#rows.length;
    this.#rows.forEach((row, i) => {
      const at = first + ((i - before + this.#rows.length) % this.#rows.length);
      const item = at < last ? this.#items[at] : null;
      row.item = item;
      if (!item) {
        this.#clear(row);
        return;
      }
      row.hidden = false;
      this.#fill(row, item, at);
      if (item === this.#selected) active = row.id;
    });
    if (active) this.list.setAttribute('aria-activedescendant', active);
    else this.list.removeAttribute('aria-activedescendant');
    const all = this.model.items.length;
    this.count.textContent = this.#items.length === all ? `${count(all)} lines` : `${count(this.#items.length)} of ${count(all)}`;
    this.pill.hidden = this.#fresh === 0;
    if (this.#fresh > 0) this.pill.textContent = `${count(this.#fresh)} new`;
    this.none.hidden = this.#items.length > 0;
    this.none.textContent = all === 0 ? 'Nothing has happened yet.' : this.#filter === 'failures' && this.#query === '' ? 'Nothing failed.' : 'No entry matches.';
  }

  /** Hides a row that has no entry, and leaves no old words in it. */
  #clear(row) {
    if (row.hidden) return;
    row.hidden = true;
    for (const cell of row.querySelectorAll('.at, .verb, .object, .details, .took')) cell.textContent = '';
  }

  #fill(row, item, at) {
    const { verb, object, details } = words(item);
    row.style.transform = `translateY(${at * this.rowPx}px)`;
    row.setAttribute('aria-posinset', String(at + 1));
    row.setAttribute('aria-setsize', String(this.#items.length));
    row.setAttribute('aria-selected', String(item === this.#selected));
    row.dataset.seq = item.seq;
    const level = item.family === 'log' ? item.meta.level ?? '' : '';
    const name = `log-row is-${item.family}${item.failed ? ' failed' : ''}${item.open ? ' open' : ''}${item.from > (this.#playhead ?? Infinity) ? ' later' : ''} ${level}`;
    if (row.className !== name) row.className = name;
    const [time, mark, say, took] = row.children;
    time.textContent = offset(item.from - this.model.firstAt);
    setIcon(mark.firstElementChild, item.failed && item.family !== 'step' ? 'fail' : level === 'warn' ? 'warn' : item.family);
    say.style.paddingLeft = `${Math.min(item.depth, 8) * 16}px`;
    say.children[0].textContent = verb;
    say.children[1].textContent = object;
    say.children[2].textContent = item.open && item.text ? tail(item.text) : details.length ? `· ${details.join(' · ')}` : '';
    took.textContent = item.instant ? '' : item.to === null ? '…' : duration(item.to - item.from);
  }
}

/** The end of streamed text, on one line. */
function tail(text) {
  const line = text.slice(-160).replaceAll(/\s+/g, ' ');
  return text.length > 160 ? `…${line}` : line;
}
