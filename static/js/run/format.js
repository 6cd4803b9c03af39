// Numbers as people read them. The server's filters in src/web/pages/filters.rs write them the same way.

const whole = new Intl.NumberFormat('en-US');

export const count = (n) => whole.format(n);

/** 1,234 · 12.3 k · 4.8 M · 2.0 G */
export function compact(n) {
  if (n < 10_000) return whole.format(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} k`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} M`;
  return `${(n / 1e9).toFixed(1)} G`;
}

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(1)} KB`;
  return `${(n / 1024 / 1024).toFixed(1)} MB`;
}

/** Micro-dollars; small sums keep what makes them tell apart. */
export function money(micros) {
  if (micros === 0) return '$0';
  if (micros < 10_000) return `$${(micros / 1e6).toFixed(micros < 100 ? 6 : 4)}`;
  return `$${(micros / 1e6).toFixed(2)}`;
}

/** 412 ms · 1.9 s · 1 m 04 s · 2 h 03 m */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, '0')} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor(seconds / 60) % 60).padStart(2, '0')} m`;
}

/** A moment of a run: 0:01.924 */
export function offset(ms) {
  const at = Math.max(0, Math.round(ms));
  const seconds = Math.floor(at / 1000);
  const minutes = Math.floor(seconds / 60);
  const tail = `${String(seconds % 60).padStart(2, '0')}.${String(at % 1000).padStart(3, '0')}`;
  return minutes < 60 ? `${minutes}:${tail}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${tail}`;
}

export function ago(at, now) {
  const seconds = Math.round((now - at) / 1000);
  const far = Math.abs(seconds);
  const [n, unit] = far < 60 ? [far, 's'] : far < 3600 ? [Math.floor(far / 60), 'min'] : far < 86_400 ? [Math.floor(far / 3600), 'h'] : [Math.floor(far / 86_400), 'd'];
  if (far < 5) return 'just now';
  return seconds < 0 ? `in ${n} ${unit}` : `${n} ${unit} ago`;
}

const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
export const exact = (at) => full.format(at);

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** 14:02 today, 3 Nov 14:02 on another day. */
export function moment(at, now = Date.now()) {
  const text = clock.format(at);
  return day.format(at) === day.format(now) ? text : `${day.format(at)} ${text}`;
}

export function host(url) {
  try { return new URL(url).host; } catch { return url; }
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Pretty JSON of a value; text that is JSON is parsed first. */
export function pretty(value) {
  if (typeof value !== 'string') return JSON.stringify(value, null, 2);
  try { return JSON.stringify(JSON.parse(value), null, 2); } catch { return value; }
}
