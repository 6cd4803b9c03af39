// The input of a run: a form made from the agent's JSON Schema, in step with the raw JSON.

import { buildFields } from '../../schema_form.js';

const form = document.querySelector('[data-run-form]');
const area = form.querySelector('textarea[name="input"]');
const raw = form.querySelector('[data-raw]');
const fields = form.querySelector('[data-fields]');
const error = form.querySelector('#input-error');
const head = form.querySelector('[data-input-head]');
const parse = (text) => { try { return JSON.parse(text); } catch { return undefined; } };

const schema = parse(form.dataset.schema ?? '');
const sample = parse(form.dataset.sample ?? '');
const fits = schema && typeof schema === 'object' && (schema.type === 'object' || schema.properties) && Object.keys(schema.properties ?? {}).length > 0;
let built = null;

function syntaxError() {
  try {
    JSON.parse(area.value);
    return '';
  } catch (problem) {
    return `This is not JSON yet: ${problem.message.replace(/^JSON\.parse: /, '')}`;
  }
}

function showSyntax() {
  const message = syntaxError();
  error.textContent = message;
  area.setAttribute('aria-invalid', String(message !== ''));
  return message === '';
}

function fill(value) {
  area.value = JSON.stringify(value, null, 2);
  if (built) built.set(value);
  showSyntax();
}

function show(as) {
  if (as === 'form' && !showSyntax()) return;
  if (as === 'form') built.set(parse(area.value) ?? {});
  fields.hidden = as !== 'form';
  raw.hidden = as === 'form';
  for (const button of head.querySelectorAll('[data-as]')) button.setAttribute('aria-pressed', String(button.dataset.as === as));
}

if (fits) {
  built = buildFields(schema, () => { area.value = JSON.stringify(built.get(), null, 2); });
  fields.append(built.element);
  head.hidden = false;
  const start = parse(area.value);
  show(start && typeof start === 'object' && !Array.isArray(start) ? 'form' : 'json');
  for (const item of form.querySelectorAll('[data-errors] li')) built.fail(item.dataset.path, item.querySelector('.text').textContent);
  head.addEventListener('click', (event) => { if (event.target.dataset.as) show(event.target.dataset.as); });
} else if (sample !== undefined) {
  head.hidden = false;
  head.querySelector('.segments').hidden = true;
}
if (sample !== undefined) {
  const button = head.querySelector('[data-use-sample]');
  button.hidden = false;
  button.addEventListener('click', () => fill(sample));
}
area.addEventListener('input', () => { if (area.getAttribute('aria-invalid') === 'true') showSyntax(); });
area.addEventListener('blur', showSyntax);
form.addEventListener('submit', (event) => {
  const ok = raw.hidden ? built.check() : showSyntax();
  if (ok) {
    if (raw.hidden) area.value = JSON.stringify(built.get(), null, 2);
    return;
  }
  event.preventDefault();
  form.querySelector('[aria-invalid="true"]')?.focus();
});
document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === 'Enter') form.requestSubmit();
});
