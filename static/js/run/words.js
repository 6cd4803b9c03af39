// What an item of the journal says, in plain words.

import { bytes, compact, count, duration, host, moment, money, plural } from './format.js';

const families = {
  'models.chat': 'model', 'http.send': 'web', 'tools.call': 'tool', 'tools.describe': 'tool', 'calls.all': 'calls', log: 'log', step: 'step', progress: 'progress', emit: 'emit',
};

const areas = { clock: 'waiting', waits: 'waiting', approvals: 'approval', approval: 'approval', inbox: 'chat', message: 'chat', agents: 'child', child: 'child' };

/** What an entry's kind belongs to; also the name of its icon. */
export function family(kind) {
  return families[kind] ?? areas[kind.split('.')[0]] ?? (kind.startsWith('memory.') ? 'memory' : kind.startsWith('artifacts.') ? 'artifact' : /^(run|segment)\./.test(kind) ? 'station' : 'emit');
}

const reasons = {
  fuel_exhausted: 'used up its fuel', memory_limit: 'asked for more memory than it may have', stack_overflow: 'called too deep', deadline: 'ran longer than it may',
  journal_limit: 'recorded more than it may', trap: 'hit a trap', agent_error: 'gave up', denied: 'did what it was not granted', budget_exhausted: 'spent its budget',
  nondeterminism: 'differed from its journal', version_drift: 'was built for another station', cancelled: 'was stopped',
};
export const reasonWords = (reason) => reasons[reason] ?? reason?.replaceAll('_', ' ') ?? '';

const codes = {
  denied: 'not granted', not_found: 'not found', conflict: 'changed meanwhile', invalid: 'wrong arguments', limit_exceeded: 'over a limit', timeout: 'timed out', rate_limited: 'rate limited',
  unavailable: 'not reachable', provider_error: 'the provider failed', budget_exhausted: 'budget spent', quota_exhausted: 'quota spent', cancelled: 'cancelled', unsupported: 'not supported', agent_error: 'the agent failed',
};
export const codeWords = (code) => codes[code] ?? code?.replaceAll('_', ' ');

export const tokensIn = (meta) => (meta.input_tokens ?? 0) + (meta.cache_read_tokens ?? 0) + (meta.cache_write_tokens ?? 0);

const verdicts = { identical: 'identical', identical_up_to: 'identical up to its end', differs: 'it differs', unverifiable: 'could not be verified' };

const wakes = { message: 'waits for a message', timer: 'sleeps', now: 'goes on at once', done: 'done', retry: 'is tried again' };
const verbs = { approve: 'approved', edit: 'approved with changes', deny: 'denied', happened: 'happened', send_again: 'sent again', fail: 'failed' };
const decided = { approve: 'approved', edit: 'approved with changes', deny: 'denied', happened: 'said that it happened', send_again: 'had it sent again', fail: 'let the call fail' };

/** The beginning of a message or a reply, where it is at hand. */
function said(item) {
  const text = item.start.request?.text ?? '';
  return text.length > 120 ? `${text.slice(0, 120).replaceAll(/\s+/g, ' ')}…` : text.replaceAll(/\s+/g, ' ');
}

const waited = (m, item) => ({
  timer: m.ms === undefined ? 'a time' : duration(m.ms), approval: `a decision${m.action ? `: ${m.action}` : ''}`, message: 'a message', child: `the end of ${item.childName ?? 'a child'}`, ask: `an answer of ${item.childName ?? 'a child'}`,
}[m.waits] ?? 'something');

const say = {
  'run.created': (m) => ['created', '', [m.by && `by ${m.by}`, m.version && `version ${m.version}`]],
  'run.started': (m) => [m.fence > 1 ? 'went on' : 'started', '', []],
  'run.recovered': () => ['went on after an interruption', '', ['replayed from the journal']],
  'run.paused': (m) => [{ pause: 'paused', principal_removed: 'held: whoever started it left, or may start runs no longer', budget: 'waits for money: a budget is used up' }[m.hold] ?? `held: ${m.hold?.replaceAll('_', ' ')}`, '', []],
  'run.resumed': () => ['resumed', '', []],
  'run.adopted': (m) => [`adopted by ${m.by}, was ${m.from}’s`, '', []],
  'run.retried': (m) => ['tried again', '', [m.by ? `by ${m.by}` : m.attempt && `attempt ${m.attempt} of ${m.of}`, m.delay_ms !== undefined && `after ${duration(m.delay_ms)}`, m.reason && codeWords(m.reason)]],
  'run.cancel-requested': () => ['asked to stop', '', []],
  'run.finished': (m) => [m.state ?? 'finished', '', [m.message ?? (m.reason && reasonWords(m.reason)), m.fuel && `${compact(m.fuel)} fuel`]],
  'run.forked': (m) => ['forked', '', [m.by && `by ${m.by}`, `at entry ${count(m.seq)} of ${m.from}`, m.edited && 'one answer edited', m.asks_before_writes && 'asks before it writes']],
  'run.verified': (m) => [`verified: ${verdicts[m.result] ?? m.result}`, '', [m.by && `by ${m.by}`, m.reason && reasonWords(m.reason)]],
  'segment.started': (m) => [`segment ${(m.segment ?? 0) + 1} began`, '', []],
  'segment.ended': (m) => [`segment ${(m.segment ?? 0) + 1} ended`, '', [typeof m.outcome === 'string' ? m.outcome : wakes[m.outcome?.wake_on], m.fuel && `${compact(m.fuel)} fuel`]],
  'segment.abandoned': (m) => [`segment ${(m.segment ?? 0) + 1} was given up`, '', [m.message]],
  'limit.near': (m) => ['is near a limit:', m.limit ?? m.name ?? '', [m.used !== undefined && m.max !== undefined && `${count(m.used)} of ${count(m.max)}`, m.message]],
  'clock.sleep': (m, item) => (item.open ? ['sleeps', m.until ? `until ${moment(m.until)}` : '', []] : ['slept', m.ms === undefined ? '' : duration(m.ms), []]),
  'approvals.request': (m, item) => [item.open ? 'asks a person:' : 'asked a person:', m.action, [m.verb ? `${verbs[m.verb] ?? m.verb}${m.by ? ` by ${m.by}` : ''}` : item.open && 'waits for a decision']],
  'approval.requested': (m) => ['asks a person:', m.action, []],
  'approval.decided': (m) => [`${m.by || 'somebody'} ${decided[m.verb] ?? m.verb}`, ['http.send', 'tools.call'].includes(m.action) ? '' : m.action, [m.reason, m.waited_ms >= 1000 && `after ${duration(m.waited_ms)}`]],
  'approval.voted': (m) => [`${m.by || 'somebody'} ${decided[m.verb] ?? m.verb}`, ['http.send', 'tools.call'].includes(m.action) ? '' : m.action, [`${m.agreed} of ${m.needed}`, m.reason]],
  'approval.expired': (m) => ['nobody decided in time:', m.action, [m.then === 'deny' ? 'counts as denied' : 'the run is cancelled']],
  'approval.withdrawn': () => ['no longer asks for a decision', '', []],
  'inbox.reply': (m, item) => ['replied', said(item), []],
  'inbox.receive': (m, item) => (item.open ? ['waits for a message', '', [m.until && `until ${moment(m.until)}`]] : m.found === false ? ['received nothing in time', '', []] : ['received a message', m.sender ? `from ${m.sender}` : '', []]),
  'message.received': (m, item) => [`${m.sender ?? 'somebody'} ${m.asked_by ? 'asked' : 'wrote'}`, said(item), []],
  'agents.start': (m, item) => ['started', m.agent, [item.child && item.child.state !== 'running' && item.child.state]],
  'agents.ask': (m, item) => [item.open ? 'asks' : 'asked', item.childName ?? 'a child', [m.until && item.open && `until ${moment(m.until)}`]],
  'child.finished': (m) => [m.agent ?? 'a child', m.state ?? 'ended', [m.reason && reasonWords(m.reason)]],
  'child.answered': (m) => [m.agent ?? 'a child', 'answered', []],
  'waits.open': (m, item) => ['opened a wait for', waited(m, item), []],
  'waits.any': (m, item) => (item.open ? [m.handles > 1 ? `waits for the first of ${count(m.handles)}` : 'waits for what it opened', '', []] : [m.found === false ? 'none came in time' : m.handles > 1 ? `the first of ${count(m.handles)} came` : 'what it waited for came', '', []]),
  'waits.close': () => ['gave up a wait', '', []],
  'models.chat': (m, item) => [item.open ? 'asking' : 'asked', m.model ?? 'a model', [
    item.end && m.output_tokens !== undefined && `${count(tokensIn(m))} in, ${count(m.output_tokens)} out`, m.cost_micros > 0 && money(m.cost_micros),
    m.finish === 'tool_calls' && 'wants a tool', m.finish === 'length' && 'cut at its length']],
  'http.send': (m, item) => (m.waits === 'approval' ? [item.open ? 'asks before' : 'asked before', `${m.method ?? ''} ${short(m.url ?? '')}`.trim(), [item.decision ? `${verbs[item.decision.verb]}${item.decision.by ? ` by ${item.decision.by}` : ''}` : item.open && 'waits for a decision']] : [`${item.open ? 'sending ' : ''}${m.method ?? 'GET'}`, short(m.url ?? ''), [m.status && String(m.status), m.bytes !== undefined && bytes(m.bytes)]]),
  'tools.describe': (m) => ['looked up its tools', '', [m.count !== undefined && plural(m.count, 'tool')]],
  'tools.call': (m, item) => (m.waits === 'approval' ? [item.open ? 'asks before' : 'asked before', toolObject(m), [item.decision ? `${verbs[item.decision.verb]}${item.decision.by ? ` by ${item.decision.by}` : ''}` : item.open && 'waits for a decision']] : [item.open ? 'using' : 'used', toolObject(m), [m.status && String(m.status), m.value !== undefined && `= ${m.value}`, m.count !== undefined && `${count(m.count)} found`, m.found === false && 'nothing there', m.value === undefined && m.bytes !== undefined && bytes(m.bytes), m.truncated && 'cut']]),
  'memory.get': (m) => ['recalled', m.key, [m.found === false && 'nothing there', m.bytes !== undefined && m.found !== false && bytes(m.bytes)]],
  'memory.put': (m) => ['remembered', m.key, [m.bytes !== undefined && bytes(m.bytes), m.version && `version ${m.version}`]],
  'memory.delete': (m) => ['forgot', m.key, [m.found === false && 'nothing was there']],
  'memory.list': (m) => ['listed memory', m.key ?? m.prefix ?? '', [m.count !== undefined && plural(m.count, 'key')]],
  'memory.search': (m) => ['searched memory for', m.key ?? m.query ?? '', [m.count !== undefined && plural(m.count, 'hit')]],
  'artifacts.put': (m) => ['wrote', m.name, [m.bytes !== undefined && bytes(m.bytes), m.content_type]],
  'artifacts.get': (m) => ['read back', m.name, [m.found === false && 'nothing there']],
  'artifacts.list': (m) => ['listed its artifacts', '', [m.count !== undefined && plural(m.count, 'artifact')]],
  'calls.all': (m) => [plural(m.calls ?? 0, 'call'), 'at once', []],
  log: (m) => ['', m.message ?? '', []],
  step: (m, item) => ['', m.name ?? 'step', [item.end && item.tokens > 0 && `${count(item.tokens)} tokens`, item.end && item.cost > 0 && money(item.cost)]],
  progress: (m) => [m.total > 0 ? `${count(m.done)} of ${count(m.total)}` : count(m.done ?? 0), '', [m.message]],
  emit: (m) => ['emitted', m.kind ?? '', []],
};

/** A tool, and what it is used on. */
const toolObject = (m) => [m.tool, m.url ? `${m.method ?? 'GET'} ${short(m.url)}` : m.key].filter(Boolean).join(' ');

function short(url) {
  try {
    const at = new URL(url);
    return `${at.host}${at.pathname === '/' ? '' : at.pathname}`;
  } catch { return url; }
}

/** {verb, object, details}: what was done, to what, and figures. */
export function words(item) {
  const [verb, object, details] = say[item.kind]?.(item.meta, item) ?? [item.kind, '', []];
  const tail = details.filter(Boolean);
  if (item.code) tail.push(codeWords(item.code));
  if (item.interrupted) tail.push('interrupted');
  if (item.meta.edited && item.kind !== 'run.forked') tail.push('edited');
  return { verb, object: object ?? '', details: tail };
}

export function sentence(item) {
  const { verb, object, details } = words(item);
  return [[verb, object].filter(Boolean).join(' '), ...details].join(' · ');
}

/** What a bar is called where it is drawn: what was asked for, so that it keeps its row when the answer names the model. */
export function label(item) {
  if (item.kind === 'models.chat') return item.start.meta?.model ?? 'model';
  if (item.child) return item.child.agent;
  if (item.kind === 'tools.call') return item.meta.tool ?? 'tool';
  if (item.kind === 'http.send') return `${item.meta.method ?? 'GET'} ${host(item.meta.url ?? '')}`;
  return item.kind;
}
