// The source and manifest of a version, with line numbers and colours, to read.

import { createEditor } from '../../../vendor/codemirror.js';
import { copy, h, icon } from '../../dom.js';

const PLAIN_CHARACTERS_MIN = 400_000;

for (const box of document.querySelectorAll('[data-code]')) {
  const pre = box.querySelector('pre');
  const text = pre.textContent;
  if (text.length < PLAIN_CHARACTERS_MIN) {
    const host = h('div');
    pre.replaceWith(host);
    createEditor(host, { text, language: box.dataset.code, label: box.dataset.label, readOnly: true });
  }
  box.append(h('button', { class: 'button small', type: 'button', onclick: () => copy(text) }, icon('copy'), 'Copy'));
}
