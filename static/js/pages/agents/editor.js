// Writing an agent: editors in place of the text areas, findings at their lines as one types, nothing lost by leaving.

import { createEditor } from '../../../vendor/codemirror.js';
import { postJson } from '../../api.js';
import { h, icon } from '../../dom.js';

const CHECK_AFTER_MS = 600;
const form = document.querySelector('[data-agent-form]');
const file = form.dataset.file;
const place = form.querySelector('[data-findings]');
const state = form.querySelector('[data-check-state]');
/** By file name: {area, host, editor}. */
const editors = new Map();
let dirty = false;

for (const area of form.querySelectorAll('[data-editor]')) {
  const host = h('div', { class: 'host' });
  area.after(host);
  area.hidden = true;
  area.required = false;
  const editor = createEditor(host, {
    text: area.value, language: area.dataset.editor, label: area.dataset.name,
    onChange(text) {
      area.value = text;
      dirty = true;
      if (area.dataset.name === file || area.dataset.name === 'agent.toml') checkSoon();
    },
  });
  const label = form.querySelector(`label[for="${area.id}"]`);
  label.addEventListener('click', () => editor.focus());
  editors.set(area.dataset.name, { area, host, editor, head: label.closest('.pane-head') });
}

// The second pane holds several files: one shows at a time.
const stack = form.querySelector('[data-stack]');
function showFile(name) {
  for (const [other, { host, tab }] of editors) {
    if (!tab) continue;
    host.hidden = other !== name;
    tab.setAttribute('aria-selected', String(other === name));
  }
}
if (stack) {
  const tabs = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'File' });
  for (const [name, entry] of editors) {
    if (!stack.contains(entry.area)) continue;
    entry.head.hidden = true;
    entry.tab = h('button', { type: 'button', role: 'tab', 'aria-selected': 'false', onclick: () => { showFile(name); entry.editor.focus(); } }, name);
    tabs.append(entry.tab);
  }
  stack.prepend(h('div', { class: 'pane-head' }, tabs));
  showFile('agent.toml');
  form.querySelector('.editor').classList.add('tabbed');
}
function showPane(name) {
  for (const pane of form.querySelectorAll('[data-pane-of]')) pane.classList.toggle('shown', pane.dataset.paneOf === name);
  for (const button of form.querySelectorAll('[data-pane]')) button.setAttribute('aria-pressed', String(button.dataset.pane === name));
}
form.querySelector('[data-panes]')?.addEventListener('click', (event) => { if (event.target.dataset.pane) showPane(event.target.dataset.pane); });

function goTo({ file: name, line, column }) {
  const entry = editors.get(name);
  if (!entry) return;
  showPane(entry.area.closest('[data-pane-of]').dataset.paneOf);
  if (entry.tab) showFile(name);
  entry.editor.goTo(Math.max(line, 1), Math.max(column, 1));
}

function showFindings(findings) {
  for (const [name, { editor }] of editors) editor.show(findings.filter((finding) => finding.file === name));
  const errors = findings.filter((finding) => finding.severity === 'error').length;
  if (state) state.textContent = findings.length === 0 ? 'Nothing wrong found' : errors > 0 ? `${errors} to mend` : `${findings.length} to look at`;
  place.replaceChildren(...(findings.length === 0 ? [] : [h('ul', { class: 'findings' }, findings.map((finding) => h('li', { class: finding.severity },
    icon(finding.severity === 'error' ? 'fail' : 'warn'),
    h('button', { class: 'at', type: 'button', onclick: () => goTo(finding) }, `${finding.file}${finding.line > 0 ? `:${finding.line}:${finding.column}` : ''}`), h('span', {}, finding.message))))]));
}

let timer = 0;
let abort = null;
function checkSoon() {
  clearTimeout(timer);
  if (state) state.textContent = '…';
  timer = setTimeout(check, CHECK_AFTER_MS);
}
async function check() {
  clearTimeout(timer);
  abort?.abort();
  const mine = abort = new AbortController();
  const text = (name) => editors.get(name)?.area.value ?? '';
  try {
    const { findings } = await postJson('/agents/check', { manifest: text('agent.toml'), code: text(file), filename: file, input: text('input.schema.json') }, { signal: mine.signal });
    if (!mine.signal.aborted) showFindings(findings);
  } catch (error) {
    if (!mine.signal.aborted && state) state.textContent = error.message;
  }
}

const checkButton = form.querySelector('[data-check]');
if (checkButton) {
  checkButton.hidden = false;
  checkButton.addEventListener('click', check);
}

// Findings that came with the page, after a save that was refused.
const given = [...place.querySelectorAll('li')].map((li) => ({
  severity: li.dataset.severity, file: li.dataset.file, line: Number(li.dataset.line), column: Number(li.dataset.column), message: li.querySelector('.text').textContent,
}));
if (given.length > 0) {
  const notice = place.firstElementChild;
  showFindings(given);
  notice.querySelector('.findings').replaceWith(place.firstElementChild);
  place.replaceChildren(notice);
}

form.addEventListener('change', () => { dirty = true; });
form.addEventListener('submit', () => {
  dirty = false;
  for (const { area, editor } of editors.values()) area.value = editor.text();
});
addEventListener('beforeunload', (event) => { if (dirty) event.preventDefault(); });
document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 's') {
    event.preventDefault();
    form.requestSubmit();
  }
});
