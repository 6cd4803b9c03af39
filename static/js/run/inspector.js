// What is behind the selected entry: tabs per kind, the full payload fetched when it is asked for.

import '../approvals.js';
import { getJson } from '../api.js';
import { h, icon } from '../dom.js';
import { fetchPage } from '../page.js';
import { refreshTimes } from '../times.js';
import { artifactPreview, artifactRow } from './artifact.js';
import { block } from './block.js';
import { bytes, compact, count, duration, exact, money, offset, plural, pretty } from './format.js';
import { codeWords, sentence, tokensIn, words } from './words.js';

/** Rows of label and value; null values are left out. */
function facts(rows) {
  return h('dl', { class: 'facts' }, rows.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false)
    .flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

const json = (value, label) => (value === undefined ? null : block(pretty(value), { label }));

/** Whether a fork may begin behind this item: it is the agent's own and has its answer, or a segment begins with it. */
const forkable = (item) => item.kind === 'segment.started' || (item.start.lane === 'guest' && !item.open && (item.family === 'step' || item.end !== null));

/** Whom the run contacted. */
function hostTable(hosts) {
  const cells = (host) => [host.requests, host.writes].map((n) => h('td', { class: 'num' }, count(n))).concat([host.sent_bytes, host.received_bytes].map((n) => h('td', { class: 'num' }, bytes(n))));
  return h('table', { class: 'table' }, h('thead', {}, h('tr', {}, h('th', {}, 'Host'), ...['Requests', 'Writes', 'Sent', 'Received'].map((name) => h('th', { class: 'num' }, name)))),
    h('tbody', {}, hosts.map((host) => h('tr', {}, h('td', { class: 'mono' }, host.host), ...cells(host)))));
}

export class Inspector {
  #item = null;
  #tab = '';
  #payloads = new Map();
  #run = null;
  #drawn = '';
  #stream = null;
  #abort = null;

  /** `on`: close(), seek(item). `runFacts()` gives what to show when nothing is selected: {input, output, artifacts, finished}. */
  constructor(host, model, runId, on) {
    Object.assign(this, { host, model, runId, on });
    this.title = h('h2', { class: 'in-title', tabindex: '-1' });
    this.back = h('button', { class: 'button quiet icon-only in-back', type: 'button', 'aria-label': 'Back to the entries', onclick: () => on.close() }, icon('back'));
    this.fork = h('a', { class: 'button quiet small in-fork', title: 'Start a new run that repeats this one up to here and is live after it' }, 'Fork from here');
    this.close = h('button', { class: 'button quiet small in-close', type: 'button', onclick: () => on.close() }, 'Show the run');
    this.tabs = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Views' });
    this.body = h('div', { class: 'in-body', role: 'tabpanel', tabindex: '-1' });
    this.sub = h('p', { class: 'meta in-sub' });
    host.append(h('header', { class: 'in-head' }, this.back, h('div', { class: 'grow' }, this.title, this.sub), this.fork, this.close), this.tabs, this.body);
    this.tabs.addEventListener('keydown', (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const all = [...this.tabs.children];
      const next = all[(all.findIndex((tab) => tab.getAttribute('aria-selected') === 'true') + by + all.length) % all.length];
      next.click();
      this.tabs.querySelector('[aria-selected="true"]')?.focus();
    });
  }

  /** The run itself: its input, output and artifacts. */
  showRun(run) {
    this.#run = run;
    if (this.#item === null) this.#draw(true);
  }

  show(item) {
    if (item === this.#item) {
      this.refresh();
      return;
    }
    this.#item = item;
    this.#drawn = '';
    this.#draw(true);
    this.host.scrollTop = 0;
  }

  /** Redraws when the selected item has changed, such as a call that ended. */
  refresh() {
    const item = this.#item;
    if (!item) return;
    if (item.open && this.#stream) {
      const atEnd = this.host.scrollTop + this.host.clientHeight >= this.host.scrollHeight - 24;
      this.#stream.textContent = item.text;
      if (atEnd) this.host.scrollTop = this.host.scrollHeight;
    }
    else if (this.#drawn !== this.#stamp()) this.#draw(false);
  }

  #stamp() {
    const item = this.#item;
    return item ? `${item.seq}/${item.endSeq}/${item.open}/${item.interrupted}/${item.text === '' ? 0 : 1}/${item.decision?.verb ?? ''}` : 'run';
  }

  #draw(fresh) {
    this.#drawn = this.#stamp();
    this.#stream = null;
    const item = this.#item;
    this.close.hidden = item === null;
    this.back.hidden = item === null;
    this.fork.hidden = !this.on.mayFork || !item || !forkable(item);
    if (!this.fork.hidden) this.fork.href = `/runs/${encodeURIComponent(this.runId)}/fork?seq=${item.endSeq}`;
    const tabs = item ? this.#tabsOf(item) : this.#runTabs();
    if (item) {
      const { verb, object } = words(item);
      const title = [verb, object].filter(Boolean).join(' ');
      this.title.textContent = title.charAt(0).toUpperCase() + title.slice(1);
      this.sub.textContent = [
        `${offset(item.from - this.model.firstAt)}`, item.instant ? null : item.to === null ? 'under way' : duration(item.to - item.from),
        item.endSeq === item.seq ? `entry ${count(item.seq)}` : `entries ${count(item.seq)} and ${count(item.endSeq)}`, item.attempt > 0 ? `attempt ${item.attempt + 1}` : null,
      ].filter(Boolean).join(' · ');
    } else {
      this.title.textContent = 'The run';
      this.sub.textContent = 'Choose an entry to see what is behind it.';
    }
    if (fresh && !tabs.some(([name]) => name === this.#tab)) this.#tab = tabs[0][0];
    if (!tabs.some(([name]) => name === this.#tab)) this.#tab = tabs[0][0];
    this.tabs.replaceChildren(...tabs.map(([name]) => h('button', {
      type: 'button', role: 'tab', 'aria-selected': String(name === this.#tab), tabindex: name === this.#tab ? '0' : '-1', onclick: () => { this.#tab = name; this.#draw(false); },
    }, name)));
    this.tabs.hidden = tabs.length < 2;
    this.body.setAttribute('aria-label', this.#tab);
    this.#fill(tabs.find(([name]) => name === this.#tab)[1]);
  }

  async #fill(view) {
    this.#abort?.abort();
    const abort = this.#abort = new AbortController();
    const made = view(abort.signal);
    if (!(made instanceof Promise)) {
      this.body.replaceChildren(...[made].flat().filter(Boolean));
      return;
    }
    const waiting = setTimeout(() => this.body.replaceChildren(h('p', { class: 'muted' }, 'Loading…')), 150);
    try {
      const nodes = await made;
      if (abort.signal.aborted) return;
      this.body.replaceChildren(...[nodes].flat().filter(Boolean));
      // What is being said now is what one came to see.
      if (this.#stream) this.host.scrollTop = this.host.scrollHeight;
    } catch (error) {
      if (!abort.signal.aborted) this.body.replaceChildren(h('p', { class: 'muted' }, error.message), h('button', { class: 'button small', type: 'button', onclick: () => this.#draw(false) }, 'Try again'));
    } finally {
      clearTimeout(waiting);
    }
  }

  /** The request of the item's start and the response of its end, fetched where they are large. */
  async #payload(item, signal) {
    const [request, response] = await Promise.all([this.#full(item.start, 'request', signal), item.end ? this.#full(item.end, 'response', signal) : undefined]);
    return { request, response };
  }

  async #full(entry, part, signal) {
    if (entry[part] !== undefined && entry[part] !== null) return entry[part];
    if (!(entry[`${part}_bytes`] > 0)) return undefined;
    if (!this.#payloads.has(entry.seq)) {
      const whole = await getJson(`/api/v1/runs/${encodeURIComponent(this.runId)}/events/${entry.seq}`, { signal });
      this.#payloads.set(entry.seq, whole);
      if (this.#payloads.size > 50) this.#payloads.delete(this.#payloads.keys().next().value);
    }
    return this.#payloads.get(entry.seq)?.[part];
  }

  #runTabs() {
    const run = this.#run ?? {};
    const tabs = [];
    const artifacts = run.artifacts ?? [];
    if (run.output !== undefined && run.output !== null) tabs.push(['Output', () => this.#outputView(run.output, 'Output')]);
    if (artifacts.length > 0) tabs.push([`Artifacts ${count(artifacts.length)}`, () => artifacts.map((artifact) => artifactRow(this.runId, artifact))]);
    const hosts = run.hosts ?? [];
    if (hosts.length > 0) tabs.push([`Hosts ${count(hosts.length)}`, () => hostTable(hosts)]);
    if (run.input !== undefined && run.input !== null) tabs.push(['Input', () => this.#outputView(run.input, 'Input')]);
    if (tabs.length === 0) tabs.push(['Run', () => h('p', { class: 'muted' }, this.model.finished ? 'It left no output.' : 'Its output will be here when it has finished.')]);
    return tabs;
  }

  /** An object's text fields are easier to read one by one. */
  #outputView(value, name) {
    const parsed = typeof value === 'string' ? tryParse(value) : value;
    if (typeof parsed === 'string') return block(parsed, { label: name, code: false });
    const long = parsed && typeof parsed === 'object' && !Array.isArray(parsed) ? Object.entries(parsed).filter(([, field]) => typeof field === 'string' && field.includes('\n')) : [];
    return [...long.map(([field, text]) => block(text, { label: field, code: false })), block(pretty(parsed), { label: `${name}, JSON` })];
  }

  #tabsOf(item) {
    const raw = ['Raw', async (signal) => {
      const { request, response } = await this.#payload(item, signal);
      return [json(request, 'Request'), json(response, 'Response'), json(item.start, item.end && item.end !== item.start ? 'Start entry' : 'Entry'), item.end && item.end !== item.start ? json(item.end, 'End entry') : null];
    }];
    const views = {
      model: () => [['Conversation', (signal) => this.#conversation(item, signal)], ['Usage', () => this.#usage(item)], raw],
      web: () => [['Response', (signal) => this.#httpPart(item, 'response', signal)], ['Request', (signal) => this.#httpPart(item, 'request', signal)], raw],
      tool: () => [['Result', (signal) => this.#tool(item, 'response', signal)], ['Arguments', (signal) => this.#tool(item, 'request', signal)], raw],
      memory: () => [['Memory', (signal) => this.#memory(item, signal)], raw],
      artifact: () => [['Artifact', (signal) => this.#artifact(item, signal)], raw],
      log: () => [['Message', () => this.#message(item)], raw],
      step: () => [['Step', () => this.#step(item)], raw],
      approval: () => [raw],
      chat: () => [['Message', (signal) => this.#said(item, signal)], raw],
      child: () => [['Child', (signal) => this.#child(item, signal)], raw],
      waiting: () => [['Wait', (signal) => this.#wait(item, signal)], raw],
      emit: () => [['Data', async (signal) => json((await this.#payload(item, signal)).request ?? item.meta, item.meta.kind ?? 'Data')], raw],
    };
    const tabs = (views[item.family] ?? (() => [['Entry', () => this.#plain(item)], raw]))();
    return item.meta.approval ? [['Decision', (signal) => this.#decision(item, signal)], ...tabs.filter(([name]) => !item.waits || ['Request', 'Raw'].includes(name))] : tabs;
  }

  #failure(item, response) {
    if (!item.code && !item.interrupted && !(item.failed && item.family === 'step')) return null;
    const failed = response?.failed;
    const why = item.interrupted ? 'The run stopped while this was under way.' : failed?.message ?? (item.family === 'step' ? 'An error left this step.' : '');
    return h('div', { class: 'notice fail' }, icon('fail'), h('div', {}, h('strong', {}, item.interrupted ? 'Interrupted' : item.code ? `Failed: ${codeWords(item.code)}` : 'Failed'), why ? ` ${why}` : '',
      failed ? h('div', { class: 'muted' }, failed.retryable ? 'The same call may succeed later.' : 'The same call would fail again.') : ''));
  }

  async #conversation(item, signal) {
    const { request, response } = await this.#payload(item, signal);
    const reply = response?.ok?.chat;
    const turns = (request?.messages ?? []).map((message) => turn(message.role, message.content, message.tool_calls, message.tool_call_id));
    const nodes = [this.#failure(item, response)];
    if (turns.length > 6) nodes.push(h('details', { class: 'earlier' }, h('summary', {}, plural(turns.length - 4, 'earlier message')), ...turns.splice(0, turns.length - 4)));
    nodes.push(...turns);
    if (request?.tools?.length) nodes.push(h('details', { class: 'earlier' }, h('summary', {}, `May use ${request.tools.map((tool) => tool.name).join(', ')}`), json(request.tools, 'Tools')));
    if (reply) nodes.push(turn('assistant', reply.content, reply.tool_calls, null, 'answer'));
    else if (item.open) {
      const node = turn('assistant', item.text, [], null, 'answer streaming');
      this.#stream = node.querySelector('.turn-text');
      nodes.push(node);
    }
    return nodes;
  }

  #usage(item) {
    const m = item.meta;
    const rows = [['Input', m.input_tokens], ['Read from cache', m.cache_read_tokens], ['Written to cache', m.cache_write_tokens], ['Output', m.output_tokens]];
    const took = item.to === null ? null : item.to - item.from;
    const speed = m.output_tokens > 0 && took && took - (m.first_token_ms ?? 0) > 0 ? m.output_tokens / ((took - (m.first_token_ms ?? 0)) / 1000) : null;
    if (item.open) return h('p', { class: 'muted' }, 'The figures come with the end of the answer.');
    return [
      this.#failure(item, null),
      h('table', { class: 'table' }, h('thead', {}, h('tr', {}, h('th', {}, 'Tokens'), h('th', { class: 'num' }, 'Count'))),
        h('tbody', {}, rows.map(([name, n]) => h('tr', {}, h('td', {}, name), h('td', { class: 'num' }, count(n ?? 0)))), h('tr', {}, h('td', {}, h('strong', {}, 'Together')), h('td', { class: 'num' }, h('strong', {}, count(tokensIn(m) + (m.output_tokens ?? 0))))))),
      facts([['Model', m.model], ['Cost', m.cost_micros === undefined ? null : money(m.cost_micros)], ['Finished', { stop: 'by itself', length: 'at its length limit', tool_calls: 'to use a tool', content_filter: 'stopped by a filter' }[m.finish] ?? m.finish],
        ['First token', m.first_token_ms > 0 ? duration(m.first_token_ms) : null], ['Took', took === null ? null : duration(took)], ['Speed', speed ? `${speed.toFixed(0)} tokens/s` : null]]),
    ];
  }

  async #httpPart(item, part, signal) {
    const payload = await this.#payload(item, signal);
    const failure = this.#failure(item, payload.response);
    const message = part === 'request' ? payload.request : payload.response?.ok?.http;
    if (!message) return [failure, failure ? null : h('p', { class: 'muted' }, item.open ? 'No answer yet.' : 'Nothing was kept.')];
    const top = part === 'request'
      ? h('p', { class: 'http-line' }, h('strong', {}, message.method), ' ', h('span', { class: 'mono' }, message.url))
      : h('p', { class: 'http-line' }, h('span', { class: `chip plain ${message.status >= 400 ? 'state-failed' : 'state-succeeded'}` }, String(message.status)), ' ', h('span', { class: 'mono' }, message.url));
    const headers = message.headers ?? [];
    return [failure, top,
      headers.length ? h('details', { class: 'earlier' }, h('summary', {}, plural(headers.length, 'header')), facts(headers.map(({ name, value }) => [name, h('span', { class: 'mono' }, value)]))) : null,
      bodyView(message.body, headers)];
  }

  /** What a tool was given, or what it answered: JSON in a text. */
  async #tool(item, part, signal) {
    const payload = await this.#payload(item, signal);
    const failure = this.#failure(item, payload.response);
    if (item.kind === 'tools.describe') return [failure, json(part === 'request' ? {} : payload.response?.ok?.tools ?? [], 'Tools')];
    const value = part === 'request' ? payload.request?.arguments : payload.response?.ok?.tool_result;
    if (value === undefined) return [failure, failure ? null : h('p', { class: 'muted' }, item.open ? 'No answer yet.' : 'Nothing was kept.')];
    return [failure, this.#outputView(value, part === 'request' ? 'Arguments' : 'Result')].flat();
  }

  async #memory(item, signal) {
    const { request, response } = await this.#payload(item, signal);
    const ok = response?.ok ?? {};
    const entry = ok.memory_entry;
    const page = ok.memory_page;
    const value = entry?.value ?? request?.value;
    return [this.#failure(item, response),
      facts([['Key', item.meta.key ?? request?.key], ['Prefix', request?.prefix], ['Looked for', request?.query], ['Version', entry?.version ?? ok.memory_version ?? item.meta.version], ['Changed', entry ? exact(entry.updated_ms) : null]]),
      entry === null ? h('p', { class: 'muted' }, 'There was nothing under this key.') : null,
      value === undefined ? null : block(pretty(value), { label: 'Value' }),
      page ? h('table', { class: 'table' }, h('thead', {}, h('tr', {}, h('th', {}, 'Key'), h('th', {}, 'Value'), h('th', { class: 'num' }, 'Version'))),
        h('tbody', {}, page.entries.map((row) => h('tr', {}, h('td', { class: 'mono' }, row.key), h('td', { class: 'mono clip' }, row.value), h('td', { class: 'num' }, row.version))))) : null];
  }

  async #artifact(item, signal) {
    const { request, response } = await this.#payload(item, signal);
    const info = response?.ok?.artifact ?? response?.ok?.artifact_found ?? request;
    if (item.kind === 'artifacts.list') return json(response?.ok?.artifacts ?? [], 'Artifacts');
    const about = { name: item.meta.name, content_type: item.meta.content_type, bytes: item.meta.bytes, ...info };
    return [this.#failure(item, response), item.failed ? null : await artifactPreview(this.runId, about, signal)];
  }

  /** The card as its own page has it; its forms work here as there. */
  async #decision(item, signal) {
    const page = await fetchPage(`/approvals/${encodeURIComponent(item.meta.approval)}`);
    if (signal.aborted) return [];
    const card = page?.querySelector('[data-approval]');
    if (!card) throw new Error('The decision could not be read. Look at the approvals page.');
    const here = document.adoptNode(card);
    refreshTimes(here);
    return here;
  }

  async #said(item, signal) {
    const { request, response } = await this.#payload(item, signal);
    const message = response?.ok?.message;
    const text = message?.text ?? request?.text;
    return [this.#failure(item, response), facts([['From', message?.sender ?? item.meta.sender], ['Asked by', item.meta.asked_by ? h('a', { href: `/runs/${encodeURIComponent(item.meta.asked_by)}` }, 'the run that started this one') : null], ['When', exact(item.from)]]),
      text === undefined ? h('p', { class: 'muted' }, item.open ? 'Nobody has written yet.' : 'Nothing came in time.') : block(text, { label: item.kind === 'inbox.reply' ? 'Reply' : 'Message', code: false })];
  }

  async #child(item, signal) {
    const { request, response } = await this.#payload(item, signal);
    const run = item.child?.run ?? item.meta.run;
    const state = item.child?.state ?? item.meta.state;
    const answer = response?.ok?.answer;
    return [this.#failure(item, response),
      run ? h('p', {}, h('a', { class: 'button', href: `/runs/${encodeURIComponent(run)}` }, icon('child'), `Open the run of ${item.child?.agent ?? item.childName ?? item.meta.agent ?? 'the child'}`)) : null,
      facts([['State', state], ['Took', item.child && item.to !== null ? duration(item.to - item.from) : null], ['Fuel at most', request?.quota?.fuel ? compact(request.quota.fuel) : null],
        ['Time at most', request?.quota?.time_ms ? duration(request.quota.time_ms) : null], ['Cost at most', request?.quota?.cost_micros ? money(request.quota.cost_micros) : null]]),
      request?.message === undefined ? null : block(request.message, { label: 'Question', code: false }), answer ? block(answer.text, { label: 'Answer', code: false }) : null,
      answer?.output ? block(pretty(answer.output), { label: 'Output' }) : null, request?.input === undefined ? null : block(pretty(request.input), { label: 'Input' })];
  }

  async #wait(item, signal) {
    const { response } = await this.#payload(item, signal);
    const ready = response?.ok?.ready;
    return [this.#failure(item, response), facts([['What', sentence(item)], ['From', exact(item.from)], ['Until', item.meta.until ? exact(item.meta.until) : null], ['Handles', item.meta.handles], ['Ready first', ready ? `handle ${ready.handle}` : null]]),
      ready ? json(ready.outcome, 'What came') : null];
  }

  #message(item) {
    const fields = item.start.request ?? item.meta.fields;
    return [item.meta.level ? facts([['Level', item.meta.level]]) : null, block(item.meta.message ?? sentence(item), { label: 'Message', code: false }), fields ? json(fields, 'Fields') : null];
  }

  #step(item) {
    const inside = this.model.items.filter((other) => other.step === item);
    const calls = inside.filter((other) => !other.instant && other.family !== 'step' && other.kind !== 'calls.all');
    return [this.#failure(item, null), facts([['Took', item.to === null ? 'under way' : duration(item.to - item.from)], ['Entries', count(inside.length)], ['Calls', count(calls.length)], ['Tokens', item.tokens > 0 ? count(item.tokens) : null], ['Cost', item.cost > 0 ? money(item.cost) : null], ['Failed calls', calls.filter((call) => call.failed).length || null]])];
  }

  #plain(item) {
    const m = item.meta;
    return [this.#failure(item, null), facts([['What', sentence(item)], ['When', exact(item.from)], ['State', m.state], ['Reason', m.reason], ['Message', m.message], ['Fuel', m.fuel ? compact(m.fuel) : null], ['Agent', m.agent], ['Version', m.version], ['By', m.by]])];
  }
}

function tryParse(text) {
  try { return JSON.parse(text); } catch { return text; }
}

function turn(role, text, toolCalls = [], callId = null, extra = '') {
  const long = text && text.length > 1500 && extra === '';
  const body = h('div', { class: 'turn-text' }, text ?? '');
  return h('section', { class: `turn ${role} ${extra}` }, h('h3', {}, { system: 'System', user: 'User', assistant: 'Model', tool: 'Tool' }[role] ?? role, callId ? h('span', { class: 'faint mono' }, ` ${callId}`) : null),
    long ? h('details', {}, h('summary', {}, `${text.slice(0, 160).trim()}…`), body) : text || !toolCalls?.length ? body : null,
    ...(toolCalls ?? []).map((call) => h('details', { class: 'tool-call', open: extra !== '' }, h('summary', {}, 'Calls ', h('code', {}, call.name)), block(pretty(call.arguments), { label: 'Arguments' }))));
}

function bodyView(body, headers) {
  if (!body) return h('p', { class: 'muted' }, 'No body.');
  if (body.base64 !== undefined) return h('p', { class: 'muted' }, `${bytes(Math.floor(body.base64.length * 0.75))} of binary data.`);
  const text = body.text ?? '';
  if (text === '') return h('p', { class: 'muted' }, 'The body is empty.');
  const type = headers.find(({ name }) => name.toLowerCase() === 'content-type')?.value ?? '';
  return block(/json/.test(type) ? pretty(text) : text, { label: type || 'Body' });
}
