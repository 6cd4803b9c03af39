// Files a run wrote: a preview where that is safe, and the download.

import { h, icon } from '../dom.js';
import { block } from './block.js';
import { bytes } from './format.js';

const PREVIEW_BYTES_MAX = 512 * 1024;
const TABLE_ROWS_MAX = 200;
const images = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/svg+xml'];

const address = (runId, name) => `/api/v1/runs/${encodeURIComponent(runId)}/artifacts/${encodeURIComponent(name)}`;

const download = (runId, { name }) => h('a', { class: 'button small', href: address(runId, name), download: name }, icon('download'), 'Download');

/** A line in the list of artifacts; its preview opens under it. */
export function artifactRow(runId, artifact) {
  const place = h('div', { class: 'preview' });
  const details = h('details', { class: 'artifact' },
    h('summary', {}, icon('artifact'), h('strong', {}, artifact.name), h('span', { class: 'muted grow' }, artifact.content_type), h('span', { class: 'muted' }, bytes(artifact.bytes))), place);
  details.addEventListener('toggle', async () => {
    if (!details.open || place.childElementCount > 0) return;
    try { place.replaceChildren(await artifactPreview(runId, artifact)); } catch (error) { place.replaceChildren(h('p', { class: 'muted' }, error.message)); }
  });
  return details;
}

/** What the file looks like. Images only as images, everything else as text: nothing in it is ever run. */
export async function artifactPreview(runId, artifact, signal) {
  const type = (artifact.content_type ?? '').split(';')[0].trim().toLowerCase();
  const head = h('div', { class: 'cluster' }, h('span', { class: 'muted' }, `${artifact.content_type ?? 'unknown type'}, ${bytes(artifact.bytes ?? 0)}`), h('span', { class: 'grow' }), download(runId, artifact));
  const frame = (...nodes) => h('div', { class: 'stack' }, head, ...nodes);
  if (images.includes(type)) return frame(h('img', { class: 'picture', src: address(runId, artifact.name), alt: `The image ${artifact.name}` }));
  if (!/^text\/|json|xml|javascript|yaml|toml/.test(type)) return frame(h('p', { class: 'muted' }, 'There is no preview of this type.'));
  if ((artifact.bytes ?? 0) > PREVIEW_BYTES_MAX) return frame(h('p', { class: 'muted' }, 'Too large to show here.'));
  const response = await fetch(address(runId, artifact.name), { credentials: 'same-origin', signal });
  if (!response.ok) return frame(h('p', { class: 'muted' }, 'The file is no longer kept.'));
  const text = await response.text();
  if (type === 'text/csv') return frame(table(text));
  if (type.endsWith('json')) {
    try { return frame(block(JSON.stringify(JSON.parse(text), null, 2), { label: artifact.name })); } catch { /* Shown as it is. */ }
  }
  return frame(block(text, { label: artifact.name, code: !/plain|markdown/.test(type) }));
}

function table(text) {
  const rows = parseCsv(text, TABLE_ROWS_MAX + 1);
  const [first = [], ...rest] = rows;
  const numeric = first.map((_, i) => rest.length > 0 && rest.every((row) => row[i] === undefined || row[i] === '' || !Number.isNaN(Number(row[i]))));
  return h('div', { class: 'scroll-x' }, h('table', { class: 'table' },
    h('thead', {}, h('tr', {}, first.map((cell, i) => h('th', { class: numeric[i] ? 'num' : null }, cell)))),
    h('tbody', {}, rest.map((row) => h('tr', {}, row.map((cell, i) => h('td', { class: numeric[i] ? 'num' : null }, cell)))))),
  rest.length === TABLE_ROWS_MAX ? h('p', { class: 'meta' }, `The first ${TABLE_ROWS_MAX} rows.`) : null);
}

/** RFC 4180, at most `max` rows. */
function parseCsv(text, max) {
  const rows = [];
  let row = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length && rows.length < max; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += '"'; i += 1; } else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ',') { row.push(cell); cell = ''; } else if (c === '\n') { row.push(cell.replace(/\r$/, '')); rows.push(row); row = []; cell = ''; } else cell += c;
  }
  if (rows.length < max && (cell !== '' || row.length > 0)) rows.push([...row, cell]);
  return rows;
}
