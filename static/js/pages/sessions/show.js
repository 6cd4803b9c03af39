// A conversation: what is said is rendered by the server, what is being said is streamed, and the timeline stands beside it.

import { exchangeCards } from '../../approvals.js';
import { postJson } from '../../api.js';
import { h, icon, perFrame } from '../../dom.js';
import { fetchPage } from '../../page.js';
import { Log } from '../../run/log.js';
import { RunModel } from '../../run/model.js';
import { Feed } from '../../run/socket.js';
import { Timeline } from '../../run/timeline.js';
import { refreshTimes } from '../../times.js';

const terminal = ['succeeded', 'failed', 'cancelled'];
const NEAR_END_PX = 160;
const page = document.querySelector('[data-session]');
const runId = page.dataset.session;
const newest = 'newest' in page.dataset;
const lines = page.querySelector('[data-lines]');
const streams = page.querySelector('[data-streams]');
const approvals = page.querySelector('[data-approvals]');
const beside = page.querySelector('[data-beside]');
const model = new RunModel();
const isOver = () => terminal.includes(page.dataset.state);
let clockAhead = 0;
/** Whether what comes is the present. */
let synced = false;

const until = () => (isOver() || model.finished ? Math.max(model.finished?.at ?? Number(page.dataset.finished ?? 0), model.lastAt ?? 0) : Math.max(model.lastAt ?? 0, Date.now() + clockAhead));

// Beside it, or above it folded where there is no room.
const wide = matchMedia('(min-width: 1024px)');
const fold = h('details', {}, h('summary', {}, 'What the run does'));
fold.open = wide.matches;
wide.addEventListener('change', () => { fold.open = wide.matches; });
const picture = h('section', { class: 'timeline', 'aria-label': 'Timeline' });
const entries = h('section', { class: 'log', 'aria-label': 'Entries' });
fold.append(picture, entries);
beside.replaceChildren(fold);
const toEntry = (item) => location.assign(`/runs/${encodeURIComponent(runId)}#e=${item.seq}`);
const timeline = new Timeline(picture, model, page.dataset.agent, { select: toEntry, seek() {}, scrub() {} });
const log = new Log(entries, model, { select: (item, byPerson) => { if (byPerson) toEntry(item); } });
log.following = true;

const draw = perFrame(() => {
  timeline.show({ until: until(), selected: null, playhead: null, live: !isOver() });
  log.show({ selected: null, playhead: null });
});

const isNearEnd = () => document.documentElement.scrollHeight - scrollY - innerHeight < NEAR_END_PX;
const toEnd = () => scrollTo({ top: document.documentElement.scrollHeight });

/** Puts what the server has into the page: lines that are new, the state, the cards, the composer. */
function take(next) {
  const follow = isNearEnd();
  const place = next.querySelector('[data-lines]');
  const kept = new Map([...lines.children].map((line) => [line.dataset.child ?? line.dataset.line, line]));
  for (const line of [...place.children]) {
    const name = line.dataset.child ?? line.dataset.line;
    const known = kept.get(name);
    if (known?.dataset.line === line.dataset.line) continue;
    const fresh = document.adoptNode(line);
    if (known) known.replaceWith(fresh);
    else lines.append(fresh);
  }
  if (lines.children.length > 0) page.querySelector('[data-silence]')?.remove();
  exchangeCards(approvals, next.querySelector('[data-approvals]'));
  page.querySelector('[data-session-state]').replaceChildren(...next.querySelector('[data-session-state]').childNodes);
  document.querySelector('[data-live="pending"]')?.replaceChildren(...(next.querySelector('[data-live="pending"]')?.childNodes ?? []));
  const over = next.querySelector('[data-over]');
  if (over && !page.querySelector('[data-over]')) page.querySelector('[data-composer]').replaceChildren(over);
  page.dataset.state = next.querySelector('[data-session]').dataset.state;
  if (isOver()) page.querySelector('[data-sync]').hidden = true;
  for (const stream of [...streams.children]) if (stream.dataset.said && lines.querySelector(`[data-line="${CSS.escape(stream.dataset.said)}"]`)) stream.remove();
  refreshTimes(page);
  if (follow) toEnd();
}

let asking = false;
let again = false;
async function refresh() {
  if (!newest) return;
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const next = await fetchPage();
  if (next) take(next);
  asking = false;
  if (again) {
    again = false;
    refresh();
  }
}

// Replies while they are written, by the model call that writes them.
const streaming = new Map();
const keyOf = ({ segment, call, sub }) => `${segment}/${call}/${sub ?? ''}`;

function stream(message) {
  const item = model.openCall(message.segment, message.call, message.sub);
  if (!item || message.done || item.start.meta?.show !== 'reply') return;
  const restart = message.whole || (message.try ?? 0) !== (item.try ?? 0);
  item.try = message.try ?? 0;
  item.text = restart ? message.text : item.text + message.text;
  const follow = isNearEnd();
  let line = streaming.get(keyOf(message));
  if (!line) {
    line = h('li', { class: 'line replied streaming' }, h('p', { class: 'meta' }, h('strong', {}, page.dataset.agent), ' · writing'), h('div', { class: 'text' }));
    streaming.set(keyOf(message), line);
    streams.append(line);
  }
  line.querySelector('.text').textContent = item.text;
  if (follow) toEnd();
}

const telling = /^(message\.received|inbox\.reply|run\.|segment\.ended|child\.|agents\.start|approval\.)/;

/** Whether an entry changes what is said here; ends the stream that it completes. */
function heard(entry) {
  if (entry.kind === 'inbox.reply') {
    const line = [...streaming.values()][0];
    if (line) {
      line.classList.remove('streaming');
      // It stays until the reply itself stands above it.
      line.dataset.said = String(entry.seq);
      streaming.clear();
    }
  }
  if (entry.kind === 'segment.ended' || entry.kind === 'run.finished') {
    for (const line of streaming.values()) line.remove();
    streaming.clear();
  }
  return telling.test(entry.kind) || entry.meta?.waits !== undefined;
}

new Feed(runId, {
  lastSeq: () => Math.max(model.lastSeq, Number(page.dataset.after)),
  isOver,
  onEntries(batch) {
    let told = false;
    for (const entry of batch) {
      if (!model.add(entry)) continue;
      told = heard(entry) || told;
      if (synced) clockAhead = Math.max(clockAhead, entry.at - Date.now());
    }
    log.update();
    draw();
    if (told && synced) refresh();
  },
  onMessage(message) {
    if (message.type === 'run' && message.state && message.state !== page.dataset.state && synced) refresh();
    if (message.type === 'delta') stream(message);
    draw();
  },
  onState(state) {
    if (state === 'synced' && !synced) {
      synced = true;
      refresh();
    }
    const chip = page.querySelector('[data-sync]');
    const word = { reconnecting: 'Reconnecting', synced: 'Live', refused: 'Not allowed any more' }[state];
    chip.hidden = !word || isOver();
    chip.dataset.sync = state;
    chip.replaceChildren(...(state === 'synced' ? [icon('live')] : []), word ?? '');
  },
});


const composer = page.querySelector('[data-post]');
composer?.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
composer?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const area = composer.elements.text;
  const text = area.value.trim();
  if (text === '' || composer.dataset.sending) return;
  composer.dataset.sending = 'yes';
  const place = page.querySelector('[data-composer]');
  place.querySelector('.ap-error')?.remove();
  try {
    await postJson(`/api/v1/runs/${encodeURIComponent(runId)}/messages`, { text });
    if (area.value.trim() === text) area.value = '';
    toEnd();
  } catch (error) {
    place.append(h('p', { class: 'ap-error', role: 'alert' }, icon('fail'), error.message));
    if (error.code === 'conflict') refresh();
  } finally {
    delete composer.dataset.sending;
    area.focus();
  }
});

// The live edge moves by itself while it is looked at.
setInterval(() => { if (!document.hidden && fold.open && !isOver() && model.firstAt !== null) draw(); }, 250);
document.addEventListener('approvaldecided', () => refresh());
if (newest && location.hash !== '#end') toEnd();
