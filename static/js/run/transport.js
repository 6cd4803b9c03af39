// Playback: play and pause, speeds, steps, to the first failure; the clock and the entry number.

import { h, icon, setIcon } from '../dom.js';
import { count, offset } from './format.js';

const WHOLE_MS = 10_000;
const speeds = [['1×', 1], ['4×', 4], ['16×', 16], ['10 s', 0]];

export class Transport {
  #speed = 0;
  #playing = false;
  #last = 0;
  /** Where the playhead is on the picture, in its pixels, so that folded time passes quickly. */
  #x = 0;

  /** `player` has: scale, start, end (ms), playhead, seek(ms|null, {playing}), step(by), toFailure(), paused(). */
  constructor(host, player) {
    this.player = player;
    const button = (name, title, onclick) => h('button', { class: 'button quiet icon-only', type: 'button', title, 'aria-label': title, onclick }, icon(name));
    this.play = button('play', 'Play (space)', () => this.toggle());
    this.failure = h('button', { class: 'button quiet', type: 'button', hidden: true, title: 'To the first failure (F)', onclick: () => player.toFailure() }, icon('jump'), 'First failure');
    this.speed = h('div', { class: 'segments', role: 'group', 'aria-label': 'Speed' },
      speeds.map(([word, value]) => h('button', { type: 'button', 'aria-pressed': String(value === 0), title: value === 0 ? 'The whole run in ten seconds' : `${word} as fast as it happened`, onclick: () => this.#choose(value) }, word)));
    this.clock = h('span', { class: 'tp-clock mono' });
    this.number = h('span', { class: 'tp-number meta' });
    this.live = h('button', { class: 'button small', type: 'button', hidden: true, onclick: () => player.toEnd() });
    host.append(
      h('div', { class: 'tp-group' }, button('prev', 'Previous entry (←)', () => player.step(-1)), this.play, button('next', 'Next entry (→)', () => player.step(1))),
      this.speed, h('div', { class: 'tp-group' }, this.clock, this.number), h('span', { class: 'grow' }), this.live, this.failure);
  }

  get playing() { return this.#playing; }

  toggle() {
    if (this.#playing) this.pause();
    else this.start();
  }

  start() {
    const { player } = this;
    if (player.start === null) return;
    if (player.playhead === null) player.seek(player.start, { playing: true });
    this.#x = player.scale.x(player.playhead);
    this.#playing = true;
    this.#last = performance.now();
    this.#show();
    requestAnimationFrame((now) => this.#tick(now));
  }

  pause() {
    if (!this.#playing) return;
    this.#playing = false;
    this.#show();
    this.player.paused();
  }

  faster(by) {
    const order = [1, 4, 16, 0];
    this.#choose(order[Math.min(Math.max(order.indexOf(this.#speed) + by, 0), order.length - 1)]);
  }

  #choose(value) {
    this.#speed = value;
    [...this.speed.children].forEach((button, i) => button.setAttribute('aria-pressed', String(speeds[i][1] === value)));
  }

  #tick(now) {
    if (!this.#playing) return;
    const { player } = this;
    const passed = now - this.#last;
    this.#last = now;
    if (this.#speed === 0) this.#x += (passed / WHOLE_MS) * player.scale.width;
    else {
      // In a fold a second of playing passes the whole of it.
      const here = player.scale.pieces.find((piece) => this.#x < piece.x + piece.span) ?? player.scale.pieces.at(-1);
      this.#x += here.fold ? (passed / 1000) * here.span * this.#speed : passed * this.#speed * player.scale.rate;
    }
    if (this.#x >= player.scale.width) {
      this.#playing = false;
      this.#show();
      player.toEnd();
      return;
    }
    player.seek(player.scale.time(this.#x), { playing: true });
    requestAnimationFrame((next) => this.#tick(next));
  }

  /** After the playhead was put elsewhere while playing. */
  moved(at) { this.#x = this.player.scale.x(at); }

  show({ at, end, seq, total, failures, live, behind }) {
    this.clock.textContent = `${offset(at)} / ${offset(end)}`;
    this.number.textContent = `entry ${count(seq)} of ${count(total)}`;
    this.failure.hidden = !failures;
    this.live.hidden = !behind;
    this.live.textContent = live ? 'Back to live' : 'Show all';
  }

  #show() {
    setIcon(this.play.firstElementChild, this.#playing ? 'pause' : 'play');
    const title = this.#playing ? 'Pause (space)' : 'Play (space)';
    this.play.title = title;
    this.play.setAttribute('aria-label', title);
  }
}
