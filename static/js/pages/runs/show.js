// The run page: one state (selection, playhead), shown by timeline, log, inspector and address alike.

import { exchangeCards } from '../../approvals.js';
import { getJson, postJson } from '../../api.js';
import { confirmed, h, icon, perFrame, setIcon, toast } from '../../dom.js';
import { fetchPage } from '../../page.js';
import { compact, count, duration, money } from '../../run/format.js';
import { Inspector } from '../../run/inspector.js';
import { Log } from '../../run/log.js';
import { RunModel } from '../../run/model.js';
import { Feed } from '../../run/socket.js';
import { Timeline } from '../../run/timeline.js';
import { Transport } from '../../run/transport.js';
import { refreshTimes } from '../../times.js';

const terminal = ['succeeded', 'failed', 'cancelled'];
const page = document.querySelector('[data-live-run]').closest('.run');
const runId = page.dataset.run;
const api = `/api/v1/runs/${encodeURIComponent(runId)}`;

const model = new RunModel();
const run = { state: page.dataset.state, totals: null, facts: {}, sync: 'connecting' };
/** `playhead` null is the end: everything that has happened is shown. */
const view = { selected: null, playhead: null, scrubbing: false };
/** How far the station's clock is ahead of ours. */
let clockAhead = 0;

const live = document.querySelector('[data-live-run]');
const parts = {
  timeline: h('section', { class: 'timeline', 'aria-label': 'Timeline' }),
  transport: h('div', { class: 'transport', role: 'toolbar', 'aria-label': 'Playback' }),
  log: h('section', { class: 'log', 'aria-label': 'Entries' }),
  inspector: h('section', { class: 'inspector', 'aria-label': 'Inspector' }),
};
const columns = h('div', { class: 'run-columns' }, parts.log, parts.inspector);
live.append(parts.timeline, parts.transport, columns);

const isOver = () => terminal.includes(run.state);
const until = () => (isOver() || model.finished
  ? Math.max(model.finished?.at ?? Number(page.dataset.finished ?? 0), model.lastAt ?? 0)
  : Math.max(model.lastAt ?? 0, Date.now() + clockAhead));

const timeline = new Timeline(parts.timeline, model, page.dataset.agent, {
  select: (item) => select(item, { reveal: true }),
  seek: (ms) => seek(ms, {}),
  scrub(dragging) {
    view.scrubbing = dragging;
    if (!dragging) writeAddress();
  },
});
const log = new Log(parts.log, model, { select: (item, byPerson) => select(item, { open: byPerson }) });
const inspector = new Inspector(parts.inspector, model, runId, { close: () => select(null, { focus: true }), mayFork: page.hasAttribute('data-may-fork') });
const transport = new Transport(parts.transport, {
  get scale() { return timeline.scale; },
  get start() { return model.firstAt; },
  get playhead() { return view.playhead; },
  seek, step, toFailure, toEnd, paused: writeAddress,
});

const render = perFrame(() => {
  const end = until();
  timeline.show({ until: end, selected: view.selected, playhead: view.playhead, live: !isOver() });
  log.show({ selected: view.selected, playhead: view.playhead });
  inspector.refresh();
  const start = model.firstAt ?? 0;
  const at = view.playhead ?? end;
  transport.show({
    at: at - start, end: end - start, total: model.lastSeq, seq: view.selected?.seq ?? (view.playhead === null ? model.lastSeq : model.items[model.indexAt(at)]?.seq ?? 0),
    failures: model.firstFailure() !== null, live: !isOver(), behind: view.playhead !== null,
  });
  showHead(end);
});

function select(item, { reveal = false, open = false, focus = false } = {}) {
  view.selected = item;
  inspector.show(item);
  if (item && view.playhead !== null && !transport.playing) view.playhead = item.from;
  columns.classList.toggle('inspecting', item !== null && (open || columns.classList.contains('inspecting')));
  if (reveal && item) log.reveal(item);
  if (focus) log.focus();
  log.following = item === null && !isOver();
  writeAddress();
  render();
}

/** Puts the playhead somewhere; null is the end. */
function seek(ms, { playing = false } = {}) {
  if (model.firstAt === null) return;
  view.playhead = ms === null ? null : Math.min(Math.max(ms, model.firstAt), until());
  if (!playing && transport.playing && view.playhead !== null) transport.moved(view.playhead);
  if (view.playhead !== null) {
    const item = model.items[model.indexAt(view.playhead)] ?? null;
    if (item && item !== view.selected) {
      view.selected = item;
      inspector.show(item);
      log.reveal(item);
    }
  }
  if (!playing && !view.scrubbing) writeAddress();
  render();
}

function toEnd() {
  transport.pause();
  view.playhead = null;
  select(null);
  log.toEnd();
}

function step(by) {
  const next = view.selected ? log.neighbour(view.selected, by) : view.playhead === null && by < 0 ? model.items.at(-1) : log.neighbour(null, by);
  if (!next) return;
  if (transport.playing) transport.pause();
  if (view.playhead !== null) view.playhead = next.from;
  select(next, { reveal: true });
}

function toFailure() {
  const item = model.firstFailure();
  if (item) select(item, { reveal: true, open: true });
}

/** The address holds the moment: `?at=` the playhead in ms from the start, `#e=` the entry. */
function writeAddress() {
  const address = new URL(location.href);
  if (view.playhead === null || model.firstAt === null) address.searchParams.delete('at');
  else address.searchParams.set('at', String(Math.round(view.playhead - model.firstAt)));
  address.hash = view.selected ? `e=${view.selected.seq}` : '';
  const text = address.href.replace(/#$/, '');
  if (text !== location.href) history.replaceState(null, '', text);
}

let wanted = { at: new URLSearchParams(location.search).get('at'), entry: /^#e=(\d+)$/.exec(location.hash)?.[1] };

/** Goes where the address says, once the journal has come that far. */
function readAddress(synced) {
  if (!wanted) return;
  const { at, entry } = wanted;
  if (at === null && !entry) {
    wanted = null;
    return;
  }
  if (!synced && !(entry && model.lastSeq >= Number(entry)) && !(at !== null && model.firstAt !== null && model.lastAt - model.firstAt >= Number(at))) return;
  wanted = null;
  if (at !== null && model.firstAt !== null && Number.isFinite(Number(at))) seek(model.firstAt + Number(at));
  const item = entry ? model.bySeq(Number(entry)) : null;
  if (item) {
    view.selected = item;
    inspector.show(item);
    requestAnimationFrame(() => log.reveal(item));
    columns.classList.add('inspecting');
  }
  writeAddress();
  render();
}

addEventListener('hashchange', () => {
  const seq = /^#e=(\d+)$/.exec(location.hash)?.[1];
  const item = seq ? model.bySeq(Number(seq)) : null;
  if (item && item !== view.selected) select(item, { reveal: true });
});

function setState(state) {
  if (state === run.state) return;
  run.state = state;
  page.dataset.state = state;
  const chip = page.querySelector('[data-state-chip]');
  chip.className = `chip state-${state}`;
  chip.querySelector('span').textContent = state.charAt(0).toUpperCase() + state.slice(1);
  const mark = chip.querySelector('.icon');
  mark.classList.toggle('turns', state === 'running');
  setIcon(mark, { succeeded: 'ok', failed: 'fail', paused: 'pause' }[state] ?? state);
  if (isOver()) {
    for (const act of page.querySelectorAll('[data-cancel], [data-pause], [data-resume]')) act.hidden = true;
    log.following = false;
    loadRun();
    showFailure();
  }
  showSync();
}

function showSync() {
  const chip = page.querySelector('[data-sync]');
  const state = run.sync === 'synced' && isOver() ? 'finished' : run.sync;
  const word = { connecting: 'Connecting', reconnecting: 'Reconnecting', replaying: 'Replaying', synced: 'Live', finished: 'Finished', refused: 'Not allowed any more' }[state] ?? state;
  chip.hidden = state === 'connecting';
  chip.dataset.sync = state;
  if (chip.dataset.shown === state) return;
  chip.dataset.shown = state;
  chip.replaceChildren(...(state === 'synced' ? [icon('live')] : []), word);
}

function showHead(end) {
  const put = (name, ...nodes) => page.querySelector(`[data-fact="${name}"]`).replaceChildren(...nodes);
  const unit = (text) => h('span', { class: 'unit' }, text);
  if (model.firstAt !== null) {
    const started = run.totals?.started_at ?? model.items.find((item) => item.kind === 'run.started')?.from ?? model.firstAt;
    put('duration', duration(Math.max(end - started, 0)));
  }
  const totals = run.totals;
  const input = totals?.input_tokens === undefined ? model.totals.input : totals.input_tokens + (totals.cache_read_tokens ?? 0) + (totals.cache_write_tokens ?? 0);
  put('tokens', count(Math.max(input, model.totals.input)), unit(' in '), count(Math.max(totals?.output_tokens ?? 0, model.totals.output)), unit(' out'));
  put('cost', money(Math.max(totals?.cost_micros ?? 0, model.totals.cost)));
  put('fuel', compact(Math.max(totals?.fuel ?? 0, model.totals.fuel, model.finished?.meta?.fuel ?? 0)));
}

/** A run that failed while one was watching gets the words that the server has for it. */
async function showFailure() {
  const place = page.querySelector('[data-failure]');
  if (run.state === 'succeeded' || place.childElementCount > 0) return;
  const now = (await fetchPage())?.querySelector('[data-failure]');
  if (now && place.childElementCount === 0) place.replaceChildren(...now.children);
}

async function loadRun() {
  try {
    const [whole, artifacts, hosts] = await Promise.all([getJson(api), getJson(`${api}/artifacts`), getJson(`${api}/hosts`)]);
    run.facts = { input: whole.input, output: whole.output, artifacts: artifacts.items ?? [], hosts: hosts.items ?? [] };
    run.totals = { ...run.totals, ...whole.usage, ...(whole.cost_micros === undefined ? {} : { cost_micros: whole.cost_micros }), ...(whole.fuel === undefined ? {} : { fuel: whole.fuel }) };
    inspector.showRun(run.facts);
    render();
  } catch (error) {
    toast(error.message, 'fail');
  }
}

// What it waits for, and the decisions that it asks for, in the server's words and cards.
const asks = /^(approval\.|run\.(started|finished|paused|resumed)|segment\.)/;
let waitsAsked = 0;
/** The state of the run that those words are about. */
let waitsOf = run.state;
function loadWaits() {
  clearTimeout(waitsAsked);
  waitsOf = run.state;
  waitsAsked = setTimeout(async () => {
    const now = await fetchPage();
    if (!now) return;
    for (const part of ['[data-waits]', '[data-held]']) page.querySelector(part).replaceChildren(...now.querySelector(part).childNodes);
    exchangeCards(page.querySelector('[data-approvals]'), now.querySelector('[data-approvals]'));
    document.querySelector('[data-live="pending"]')?.replaceChildren(...(now.querySelector('[data-live="pending"]')?.childNodes ?? []));
    refreshTimes(page);
  }, 120);
}

let artifactsAsked = 0;
/** What the run has made and whom it has reached, while it goes on. */
async function loadLeft() {
  clearTimeout(artifactsAsked);
  artifactsAsked = setTimeout(async () => {
    try {
      const [artifacts, hosts] = await Promise.all([getJson(`${api}/artifacts`), getJson(`${api}/hosts`)]);
      Object.assign(run.facts, { artifacts: artifacts.items ?? [], hosts: hosts.items ?? [] });
      inspector.showRun(run.facts);
    } catch { /* The next artifact, or the end of the run, asks again. */ }
  }, 300);
}

new Feed(runId, {
  lastSeq: () => model.lastSeq,
  isOver,
  onEntries(entries) {
    let last = null;
    let left = false;
    let waits = false;
    for (const entry of entries) {
      if (!model.add(entry)) continue;
      last = entry;
      left ||= entry.kind === 'artifacts.put' || (entry.phase === 'end' && ['http.send', 'tools.call'].includes(entry.kind));
      waits ||= asks.test(entry.kind) || Boolean(entry.meta?.waits);
    }
    if (!last) return;
    if (!isOver() && run.sync === 'synced') clockAhead = Math.max(clockAhead, last.at - Date.now());
    if (model.finished) {
      setState(model.finished.meta?.state ?? run.state);
    } else if (run.state === 'queued' && model.items.some((item) => item.kind === 'run.started')) setState('running');
    if (left && !isOver()) loadLeft();
    if (waits && run.sync === 'synced') loadWaits();
    log.update();
    readAddress(false);
    render();
  },
  onMessage(message) {
    if (message.type === 'run') {
      run.totals = { ...run.totals, ...message };
      if (message.state && message.state !== run.state) {
        setState(message.state);
        if (run.sync === 'synced') loadWaits();
      }
    } else if (message.type === 'delta') {
      const item = model.openCall(message.segment, message.call, message.sub);
      // What is complete comes as an entry; until that is here, the text stays.
      if (!item || message.done) return;
      const again = message.whole || (message.try ?? 0) !== (item.try ?? 0);
      item.try = message.try ?? 0;
      item.text = again ? message.text : item.text + message.text;
      log.draw();
    }
    render();
  },
  onState(state) {
    run.sync = state;
    showSync();
    if (state === 'synced') {
      readAddress(true);
      // It went on while the page was on its way.
      if (run.state !== waitsOf) loadWaits();
    }
    log.following = !isOver() && view.selected === null;
    render();
  },
});

document.addEventListener('approvaldecided', loadWaits);

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog, [role="tablist"]')) return;
  const onButton = event.target.closest('button, a, summary');
  const act = {
    ' ': onButton ? null : () => transport.toggle(), k: () => transport.toggle(), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    j: () => jump(-1), l: () => jump(1), f: () => toFailure(), '[': () => transport.faster(-1), ']': () => transport.faster(1),
    Home: () => seek(model.firstAt), End: () => toEnd(), Escape: () => { if (view.selected) select(null, { focus: true }); },
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

/** J and L: a twentieth of the picture back and on. */
function jump(by) {
  if (model.firstAt === null) return;
  const { scale } = timeline;
  const x = scale.x(view.playhead ?? until()) + (by * scale.width) / 20;
  if (x >= scale.width) toEnd();
  else seek(scale.time(Math.max(x, 0)));
}

page.querySelector('[data-cancel]')?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = event.target.querySelector('button');
  if (!await confirmed({ title: 'Cancel this run?', text: 'It stops at its next call or a moment later. What it has done stays done.', action: 'Cancel the run' })) return;
  button.disabled = true;
  try {
    await postJson(`${api}/cancel`);
    toast('Asked it to stop');
  } catch (error) {
    button.disabled = false;
    toast(error.message, 'fail');
  }
});

page.querySelector('[data-verify]')?.addEventListener('submit', (event) => {
  const button = event.target.querySelector('button');
  button.setAttribute('aria-disabled', 'true');
  button.textContent = 'Verifying…';
});

// The live edge moves by itself; once the run is over nothing needs drawing.
setInterval(() => { if (!document.hidden && !isOver() && model.firstAt !== null) render(); }, 100);
loadRun();
