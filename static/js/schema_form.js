// A form from a JSON Schema: objects, lists, enums, strings, numbers, booleans. What it cannot show is edited as JSON.

import { h } from './dom.js';

let ids = 0;

/** {element, get, set, check, fail(pointer, message)} for an object schema; `changed` is told of every edit. */
export function buildFields(schema, changed) {
  const root = objectField(schema, { name: '', pointer: '', required: true, bare: true, root: schema }, changed);
  return {
    element: root.element,
    get: () => root.get() ?? {},
    set: (value) => root.set(value),
    check: () => root.check(),
    fail: (pointer, message) => root.fail(pointer, message),
  };
}

function resolve(schema, root) {
  let at = schema;
  for (let hops = 0; at?.$ref?.startsWith('#/') && hops < 8; hops += 1) at = at.$ref.slice(2).split('/').reduce((node, key) => node?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], root);
  return at ?? {};
}

function typeOf(schema) {
  const types = [schema.type ?? []].flat().filter((type) => type !== 'null');
  if (types.length === 1) return types[0];
  return schema.properties ? 'object' : schema.items ? 'array' : types.length === 0 && schema.enum ? 'string' : 'any';
}

function build(given, place, changed) {
  const schema = resolve(given, place.root);
  const at = { ...place, title: schema.title ?? words(place.name), help: schema.description };
  if (schema.enum) return scalarField(schema, at, changed, enumControl(schema, at));
  switch (typeOf(schema)) {
    case 'object': return schema.properties ? objectField(schema, at, changed) : jsonField(schema, at, changed);
    case 'array': return listField(schema, at, changed);
    case 'boolean': return booleanField(schema, at, changed);
    case 'integer': case 'number': return scalarField(schema, at, changed, numberControl(schema));
    case 'string': return scalarField(schema, at, changed, textControl(schema));
    default: return jsonField(schema, at, changed);
  }
}

const words = (name) => {
  const text = name.replaceAll(/[_-]+/g, ' ').replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** Label above, help under, an error in its place. */
function frame(at, control, { legend = false } = {}) {
  const id = `f${ids += 1}`;
  const error = h('p', { class: 'error', id: `${id}-error` });
  control.id = id;
  control.setAttribute('aria-describedby', `${id}-help ${id}-error`);
  const label = [at.title, at.required ? null : h('span', { class: 'need' }, ' optional')];
  const element = h('div', { class: 'field' }, legend ? h('span', { class: 'label', id: `${id}-label` }, label) : h('label', { for: id }, label), control, at.help ? h('p', { class: 'help', id: `${id}-help` }, at.help) : null, error);
  if (legend) control.setAttribute('aria-labelledby', `${id}-label`);
  return { element, say(message) { error.textContent = message; control.setAttribute('aria-invalid', String(message !== '')); } };
}

function textControl(schema) {
  const long = schema.format === 'textarea' || schema.contentMediaType || (schema.maxLength ?? 0) > 200 || /\b(text|log|csv|body|markdown|lines?|document|message)\b/i.test(`${schema.title ?? ''} ${schema.description ?? ''}`);
  const type = { email: 'email', uri: 'url', date: 'date', 'date-time': 'text' }[schema.format] ?? 'text';
  const example = schema.examples?.[0] ?? null;
  const control = long ? h('textarea', { class: 'textarea', rows: '6', placeholder: example, spellcheck: 'false' }) : h('input', { class: 'input', type, placeholder: example, autocomplete: 'off' });
  return {
    control, get: () => control.value, set: (value) => { control.value = typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value); },
    check(value) {
      if (schema.minLength !== undefined && [...value].length < schema.minLength) return schema.minLength === 1 ? 'Fill this in.' : `Write at least ${schema.minLength} characters.`;
      if (schema.maxLength !== undefined && [...value].length > schema.maxLength) return `Write at most ${schema.maxLength} characters.`;
      if (schema.pattern) { try { if (!new RegExp(schema.pattern, 'u').test(value)) return `It must match ${schema.pattern}.`; } catch { /* The station judges patterns the browser cannot read. */ } }
      return control.validity.typeMismatch ? control.validationMessage : '';
    },
  };
}

function numberControl(schema) {
  const whole = schema.type === 'integer';
  const control = h('input', { class: 'input', type: 'number', min: schema.minimum, max: schema.maximum, step: schema.multipleOf ?? (whole ? 1 : 'any'), inputmode: whole ? 'numeric' : 'decimal' });
  return {
    control, get: () => (control.value === '' ? '' : Number(control.value)), set: (value) => { control.value = value ?? ''; },
    check(value) {
      if (control.validity.badInput) return 'Write a number.';
      if (whole && !Number.isInteger(value)) return 'Write a whole number.';
      if (schema.minimum !== undefined && value < schema.minimum) return `It must be at least ${schema.minimum}.`;
      if (schema.maximum !== undefined && value > schema.maximum) return `It must be at most ${schema.maximum}.`;
      return '';
    },
  };
}

function enumControl(schema, at) {
  const control = h('select', { class: 'select' }, at.required && schema.default !== undefined ? null : h('option', { value: '' }, at.required ? 'Choose' : 'None'), schema.enum.map((value, i) => h('option', { value: String(i) }, String(value))));
  return { control, get: () => (control.value === '' ? '' : schema.enum[Number(control.value)]), set: (value) => { const i = schema.enum.indexOf(value); control.value = i < 0 ? '' : String(i); }, check: () => '' };
}

function scalarField(schema, at, changed, made) {
  const { element, say } = frame(at, made.control);
  if (schema.default !== undefined) made.set(schema.default);
  const check = () => {
    const value = made.get();
    const empty = value === '' && !made.control.validity.badInput;
    const message = empty ? (at.required && schema.minLength !== 0 && typeOf(schema) !== 'string' ? 'Fill this in.' : at.required && schema.minLength > 0 ? made.check(value) : '') : made.check(value);
    say(message);
    return message === '';
  };
  made.control.addEventListener('input', () => { if (made.control.getAttribute('aria-invalid') === 'true') check(); changed(); });
  made.control.addEventListener('change', check);
  return {
    element, check,
    get: () => { const value = made.get(); return value === '' && !(at.required && typeOf(schema) === 'string' && !schema.enum) ? undefined : value; },
    set: (value) => { made.set(value === undefined ? schema.default : value); say(''); },
    fail: (pointer, message) => say(message),
  };
}

function booleanField(schema, at, changed) {
  const control = h('input', { type: 'checkbox', onchange: () => changed() });
  const error = h('p', { class: 'error' });
  control.checked = schema.default === true;
  let given = at.required || schema.default !== undefined;
  control.addEventListener('change', () => { given = true; });
  return {
    element: h('div', { class: 'field' }, h('label', { class: 'check' }, control, h('span', {}, at.title)), at.help ? h('p', { class: 'help' }, at.help) : null, error),
    get: () => (given ? control.checked : undefined), set: (value) => { control.checked = (value ?? schema.default) === true; given ||= value !== undefined; },
    check: () => true, fail: (pointer, message) => { error.textContent = message; },
  };
}

function objectField(schema, at, changed) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => [name, build(property, { name, pointer: `${at.pointer}/${name}`, required: required.has(name), root: at.root }, changed)]);
  let others = {};
  const inner = fields.map(([, field]) => field.element);
  return {
    element: at.bare ? h('fieldset', { class: 'form wide' }, inner) : h('fieldset', { class: 'group' }, h('legend', {}, at.title, at.required ? null : h('span', { class: 'need' }, ' optional')), at.help ? h('p', { class: 'meta' }, at.help) : null, inner),
    get() {
      const value = { ...others };
      for (const [name, field] of fields) { const inside = field.get(); if (inside !== undefined) value[name] = inside; }
      return Object.keys(value).length === 0 && !at.required ? undefined : value;
    },
    set(value) {
      const known = new Set(fields.map(([name]) => name));
      others = Object.fromEntries(Object.entries(value ?? {}).filter(([name]) => !known.has(name)));
      for (const [name, field] of fields) field.set(value?.[name]);
    },
    check: () => fields.map(([, field]) => field.check()).every(Boolean),
    fail(pointer, message) {
      const [, name, ...rest] = pointer.split('/');
      fields.find(([other]) => other === name)?.[1].fail(rest.length ? `/${rest.join('/')}` : '', message);
    },
  };
}

function listField(schema, at, changed) {
  const item = resolve(schema.items ?? {}, at.root);
  const plain = ['string', 'integer', 'number'].includes(typeOf(item)) && !item.enum;
  if (!plain) return jsonField(schema, at, changed);
  const control = h('textarea', { class: 'textarea', rows: '3', spellcheck: 'false', oninput: () => changed() });
  const { element, say } = frame({ ...at, help: [at.help, 'One a line.'].filter(Boolean).join(' ') }, control);
  const read = () => control.value.split('\n').map((line) => line.trim()).filter(Boolean).map((line) => (typeOf(item) === 'string' ? line : Number(line)));
  const check = () => {
    const list = read();
    const message = list.some(Number.isNaN) ? 'Write one number a line.' : list.length < (schema.minItems ?? 0) && (at.required || list.length > 0) ? `Give at least ${schema.minItems}.` : list.length > (schema.maxItems ?? Infinity) ? `Give at most ${schema.maxItems}.` : '';
    say(message);
    return message === '';
  };
  control.addEventListener('change', check);
  return {
    element, check, get: () => { const list = read(); return list.length === 0 && !at.required ? undefined : list; },
    set: (value) => { control.value = Array.isArray(value ?? schema.default) ? (value ?? schema.default).join('\n') : ''; say(''); }, fail: (pointer, message) => say(message),
  };
}

function jsonField(schema, at, changed) {
  const control = h('textarea', { class: 'textarea code', rows: '5', spellcheck: 'false', oninput: () => changed() });
  const { element, say } = frame({ ...at, help: [at.help, 'JSON.'].filter(Boolean).join(' ') }, control);
  const read = () => { if (control.value.trim() === '') return undefined; try { return JSON.parse(control.value); } catch { return null; } };
  const check = () => {
    let message = control.value.trim() === '' && at.required ? 'Fill this in.' : '';
    if (control.value.trim() !== '') try { JSON.parse(control.value); } catch (error) { message = `This is not JSON yet: ${error.message}`; }
    say(message);
    return message === '';
  };
  control.addEventListener('change', check);
  return { element, check, get: read, set: (value) => { const given = value ?? schema.default; control.value = given === undefined ? '' : JSON.stringify(given, null, 2); say(''); }, fail: (pointer, message) => say(message) };
}
