// Text that is code, data or prose, with a button that copies it.

import { copy, h, icon } from '../dom.js';
import { count } from './format.js';

const TEXT_CHARACTERS_MAX = 200_000;

/** A block of text with a copy button. */
export function block(text, { label, code = true } = {}) {
  const cut = text.length > TEXT_CHARACTERS_MAX;
  return h('div', { class: 'block' },
    h('div', { class: 'block-head' }, h('span', {}, label ?? ''), h('button', { class: 'button quiet small', type: 'button', onclick: () => copy(text) }, icon('copy'), 'Copy')),
    h('pre', { class: code ? '' : 'reading', tabindex: '0', 'aria-label': label ?? 'Text' }, cut ? text.slice(0, TEXT_CHARACTERS_MAX) : text),
    cut ? h('p', { class: 'meta' }, `The first ${count(TEXT_CHARACTERS_MAX)} characters. Copy takes all of it.`) : null);
}
