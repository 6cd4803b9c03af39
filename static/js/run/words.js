// What an item of the journal says, in plain words.

import { bytes, compact, count, duration, host, money, plural } from './format.js';

const families = {
  'models.chat': 'model', 'http.send': 'web', 'calls.all': 'calls', log: 'log', step: 'step', progress: 'progress', emit: 'emit',
};

/** What an entry's kind belongs to; also the name of its icon. */
export function family(kind) {
  return families[kind] ?? (kind.startsWith('memory.') ? 'memory' : kind.startsWith('artifacts.') ? 'artifact' : /^(run|segment)\./.test(kind) ? 'station' : 'emit');
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

const say = {
  'run.created': (m) => ['created', '', [m.by && `by ${m.by}`, m.version && `version ${m.version}`]],
  'run.started': () => ['started', '', []],
  'run.recovered': () => ['went on after an interruption', '', ['replayed from the journal']],
  'run.paused': (m) => [m.hold === 'pause' ? 'paused' : `held: ${m.hold?.replaceAll('_', ' ')}`, '', []],
  'run.resumed': () => ['resumed', '', []],
  'run.retried': (m) => ['tried again', '', [m.by ? `by ${m.by}` : m.attempt && `attempt ${m.attempt} of ${m.of}`, m.delay_ms !== undefined && `after ${duration(m.delay_ms)}`, m.reason && codeWords(m.reason)]],
  'run.cancel-requested': () => ['asked to stop', '', []],
  'run.finished': (m) => [m.state ?? 'finished', '', [m.message ?? (m.reason && reasonWords(m.reason)), m.fuel && `${compact(m.fuel)} fuel`]],
  'run.forked': (m) => ['forked', '', [m.by && `by ${m.by}`, `at entry ${count(m.seq)} of ${m.from}`, m.edited && 'one answer edited', m.asks_before_writes && 'asks before it writes']],
  'run.verified': (m) => [`verified: ${verdicts[m.result] ?? m.result}`, '', [m.by && `by ${m.by}`, m.reason && reasonWords(m.reason)]],
  'segment.started': (m) => [`segment ${(m.segment ?? 0) + 1} began`, '', []],
  'segment.ended': (m) => [`segment ${(m.segment ?? 0) + 1} ended`, '', [m.outcome, m.fuel && `${compact(m.fuel)} fuel`]],
  'models.chat': (m, item) => [item.open ? 'asking' : 'asked', m.model ?? 'a model', [
    item.end && m.output_tokens !== undefined && `${count(tokensIn(m))} in, ${count(m.output_tokens)} out`, m.cost_micros > 0 && money(m.cost_micros),
    m.finish === 'tool_calls' && 'wants a tool', m.finish === 'length' && 'cut at its length']],
  'http.send': (m, item) => [`${item.open ? 'sending ' : ''}${m.method ?? 'GET'}`, short(m.url ?? ''), [m.status && String(m.status), m.bytes !== undefined && bytes(m.bytes)]],
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
  step: (m) => ['', m.name ?? 'step', []],
  progress: (m) => [m.total > 0 ? `${count(m.done)} of ${count(m.total)}` : count(m.done ?? 0), '', [m.message]],
  emit: (m) => ['emitted', m.kind ?? '', []],
};

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
  if (item.kind === 'http.send') return `${item.meta.method ?? 'GET'} ${host(item.meta.url ?? '')}`;
  return item.kind;
}
