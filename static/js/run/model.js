// A run's journal as items: calls with start and end in one, instants, steps. Fed entry by entry, in ascending seq.

import { family } from './words.js';

/** A call that was refused, or that waits for leave, says in its summary only why; what it is about is in its request. */
function named({ meta, request }) {
  if (!(meta?.code || meta?.waits === 'approval') || !request) return null;
  const { method, url, model, key, name } = request;
  return Object.fromEntries(Object.entries({ method, url, model, key, name }).filter(([, value]) => typeof value === 'string'));
}

export class RunModel {
  items = [];
  /** Step items, in order of their start. */
  steps = [];
  firstAt = null;
  lastAt = null;
  lastSeq = 0;
  finished = null;
  totals = { input: 0, output: 0, cost: 0, fuel: 0 };
  /** Cumulative cost as [at, micros], for the line under the axis. */
  costs = [];
  version = 0;
  #calls = new Map();
  #steps = new Map();
  #bySeq = new Map();
  #open = new Set();
  #fork = null;
  /** The runs that this one has started, by id: the item that started each, with its `child`. */
  children = new Map();

  /** Whether the entry was new. */
  add(written) {
    if (written.seq <= this.lastSeq) return false;
    // What is said of a run afterwards, perhaps days later, stands at its end and does not stretch the picture.
    const entry = written.kind === 'run.verified' && this.finished ? { ...written, at: this.finished.at } : this.#shifted(written);
    this.lastSeq = entry.seq;
    this.firstAt ??= entry.at;
    this.lastAt = Math.max(this.lastAt ?? entry.at, entry.at);
    this.version += 1;
    if (entry.fuel !== null && entry.fuel !== undefined && entry.segment !== undefined) this.totals.fuel = Math.max(this.totals.fuel, entry.fuel);
    if (entry.kind === 'step') this.#addStep(entry);
    else if (entry.phase === 'end') this.#close(entry);
    else this.#begin(entry);
    if (entry.kind === 'run.recovered') this.#interrupt(entry.at);
    if (entry.kind === 'segment.abandoned') this.#interrupt(entry.at, entry.meta?.segment ?? entry.segment);
    if (entry.kind === 'child.finished') this.#endChild(entry);
    if (entry.kind.startsWith('approval.')) this.#decide(entry);
    // What failed goes on: it has not ended after all.
    if (entry.kind === 'run.retried') this.finished = null;
    if (entry.kind === 'run.finished') {
      this.finished = entry;
      this.#interrupt(entry.at);
    }
    return true;
  }

  /** What a fork took over happened long before it; it is shown as if it had led up to the fork without a pause. */
  #shifted(entry) {
    if (entry.kind === 'run.forked') {
      const { first_at: first, last_at: last, copied } = entry.meta;
      this.#fork = { by: entry.at - last, first: entry.at - (last - first), to: entry.seq + 1 + copied };
    }
    const fork = this.#fork;
    if (!fork || entry.seq > fork.to) return entry;
    return { ...entry, at: entry.lane === 'guest' ? entry.at + fork.by : fork.first };
  }

  /** The item that an entry belongs to. */
  bySeq(seq) {
    for (let at = seq; at > 0; at -= 1) {
      const item = this.#bySeq.get(at);
      if (item) return item;
    }
    return null;
  }

  /** The open call that streamed text belongs to. */
  openCall(segment, call, sub) {
    for (const item of this.#open) if (item.segment === segment && item.call === call && item.sub === (sub ?? null)) return item;
    return null;
  }

  /** Index of the last item that began at `at` or before, -1 where none did. */
  indexAt(at) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].from <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  firstFailure() {
    return this.items.find((item) => item.failed && item.family !== 'step' && item.kind !== 'run.finished') ?? this.items.find((item) => item.failed) ?? null;
  }

  get isOpen() { return this.#open.size > 0; }

  #key(entry) { return `${entry.segment}/${entry.attempt}/${entry.call}/${entry.sub ?? ''}`; }

  #item(entry, fields) {
    const step = entry.kind === 'step' ? fields.parent : this.#steps.get(`${entry.segment}/${entry.step}`) ?? null;
    const group = entry.sub === null || entry.sub === undefined ? null : this.#calls.get(`${entry.segment}/${entry.attempt}/${entry.call}/`) ?? null;
    const item = {
      index: this.items.length, seq: entry.seq, endSeq: entry.seq, kind: entry.kind, family: family(entry.kind), from: entry.at, to: entry.at,
      call: entry.call, sub: entry.sub ?? null, attempt: entry.attempt, segment: entry.segment, step, group,
      depth: (step ? step.depth + 1 : 0) + (group ? 1 : 0), meta: { segment: entry.segment, ...named(entry), ...entry.meta }, start: entry, end: null,
      instant: true, open: false, failed: false, code: entry.meta?.code ?? null, interrupted: false, text: '',
      waits: entry.phase === 'start' && entry.meta?.waits ? entry.meta.waits : null, left: false, decision: null, child: null, childName: this.children.get(entry.meta?.run)?.child.agent ?? null, ...fields,
    };
    item.failed = Boolean(item.code) || (entry.kind === 'log' && entry.meta?.level === 'error') || (entry.kind === 'run.finished' && entry.meta?.state === 'failed');
    this.items.push(item);
    this.#bySeq.set(entry.seq, item);
    return item;
  }

  #begin(entry) {
    const starts = entry.phase === 'start';
    if (starts) this.#goOn(entry);
    const item = this.#item(entry, { instant: !starts, open: starts });
    if (!starts) {
      if (entry.phase === 'point') item.end = entry;
      this.#count(item, entry);
      if (entry.kind === 'agents.start' && entry.meta?.run) this.#startChild(item, entry);
      return;
    }
    item.to = null;
    this.#calls.set(this.#key(entry), item);
    this.#open.add(item);
  }

  /** A call that waited for leave and got it begins again, now in earnest: the wait is a bar of its own. */
  #goOn(entry) {
    const waiting = this.openCall(entry.segment, entry.call, entry.sub);
    if (!waiting?.waits) return;
    Object.assign(waiting, { open: false, to: entry.at, left: true });
    this.#open.delete(waiting);
  }

  /** A child is a bar from its start to its end. */
  #startChild(item, entry) {
    Object.assign(item, { instant: false, open: true, to: null, child: { run: entry.meta.run, agent: entry.meta.agent, state: 'running' } });
    this.children.set(entry.meta.run, item);
    this.#open.add(item);
  }

  #endChild(entry) {
    const item = this.children.get(entry.meta?.run);
    if (!item) return;
    item.child.state = entry.meta.state ?? 'ended';
    Object.assign(item, { to: entry.at, open: false, interrupted: false, failed: entry.meta.state === 'failed' });
    this.#open.delete(item);
  }

  #decide(entry) {
    for (let i = this.items.length - 1; i >= 0; i -= 1) {
      const item = this.items[i];
      if (item.waits && item.meta.approval === entry.meta?.approval) {
        item.decision = entry.meta;
        return;
      }
    }
  }

  #close(entry) {
    const item = this.#calls.get(this.#key(entry)) ?? this.#lastOpen(entry);
    if (!item) {
      this.#item(entry, { end: entry });
      return;
    }
    item.end = entry;
    item.endSeq = entry.seq;
    item.to = entry.at;
    item.open = false;
    item.interrupted = false;
    item.text = '';
    item.meta = { ...item.meta, ...entry.meta };
    item.code = entry.meta?.code ?? null;
    item.failed = Boolean(item.code);
    this.#bySeq.set(entry.seq, item);
    this.#open.delete(item);
    this.#count(item, entry);
  }

  /** After a crash the same call may be ended under a later attempt. */
  #lastOpen(entry) {
    for (let i = this.items.length - 1; i >= 0; i -= 1) {
      const item = this.items[i];
      if (item.end === null && !item.instant && !item.left && item.kind === entry.kind && item.segment === entry.segment && item.call === entry.call && item.sub === (entry.sub ?? null)) return item;
    }
    return null;
  }

  #addStep(entry) {
    const number = entry.step ?? entry.call;
    const key = `${entry.segment}/${number}`;
    if (entry.phase === 'end') {
      const item = this.#steps.get(key) ?? this.#steps.get(`${entry.segment}/${entry.meta?.step}`);
      if (!item) return;
      Object.assign(item, { end: entry, endSeq: entry.seq, to: entry.at, open: false, interrupted: false, failed: entry.meta?.failed === true });
      this.#bySeq.set(entry.seq, item);
      this.#open.delete(item);
      return;
    }
    const parent = this.#steps.get(`${entry.segment}/${entry.meta?.parent}`) ?? null;
    const item = this.#item(entry, { parent, instant: false, open: true });
    item.to = null;
    this.#steps.set(key, item);
    this.steps.push(item);
    this.#open.add(item);
  }

  /** What was under way stopped with the run, or with the segment that was given up. Who waits, and children, are not stopped by a restart. */
  #interrupt(at, segment = null) {
    for (const item of this.#open) {
      if (segment === null ? this.finished === null && (item.family === 'step' || item.waits || item.child) : item.segment !== segment || item.child) continue;
      item.open = false;
      item.interrupted = true;
      item.to = at;
      this.#open.delete(item);
    }
  }

  #count(item, entry) {
    // What a fork took over was paid for by the run it comes from.
    if (entry.kind !== 'models.chat' || entry.seq <= (this.#fork?.to ?? 0)) return;
    const meta = entry.meta ?? {};
    this.totals.input += (meta.input_tokens ?? 0) + (meta.cache_read_tokens ?? 0) + (meta.cache_write_tokens ?? 0);
    this.totals.output += meta.output_tokens ?? 0;
    // A step's sum holds what the steps inside it cost.
    for (let step = item.step; step; step = step.step) {
      step.cost = (step.cost ?? 0) + (meta.cost_micros ?? 0);
      step.tokens = (step.tokens ?? 0) + (meta.input_tokens ?? 0) + (meta.cache_read_tokens ?? 0) + (meta.cache_write_tokens ?? 0) + (meta.output_tokens ?? 0);
    }
    if (meta.cost_micros > 0) {
      this.totals.cost += meta.cost_micros;
      this.costs.push([entry.at, this.totals.cost]);
    }
  }
}
