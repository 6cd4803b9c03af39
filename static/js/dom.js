// Elements without markup strings: the page's policy allows no innerHTML.

const iconsHref = document.querySelector('meta[name="icons"]')?.content ?? '';

/** An element with attributes (`on…` are listeners, null and false are left out) and children (strings become text). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name, className = 'icon') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  svg.setAttribute('class', className);
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `${iconsHref}#${name}`);
  svg.append(use);
  return svg;
}

/** Points an icon made by `icon` at another symbol. */
export function setIcon(svg, name) {
  const href = `${iconsHref}#${name}`;
  const use = svg.firstElementChild;
  if (use.getAttribute('href') !== href) use.setAttribute('href', href);
}

export function toast(text, tone = '') {
  let box = document.querySelector('.toasts');
  if (!box) document.body.append(box = h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' }));
  const note = h('div', { class: `toast ${tone}` }, text);
  box.append(note);
  setTimeout(() => note.remove(), tone === 'fail' ? 8000 : 3000);
}

export async function copy(text, done = 'Copied') {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast('The browser did not let us copy. Select the text and copy it yourself.', 'fail');
  }
}

/** Asks before something that cannot be undone; resolves to whether to go on. */
export function confirmed({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': 'confirm-title' },
      h('form', { method: 'dialog', class: 'body' },
        h('h2', { id: 'confirm-title' }, title), text ? h('p', { class: 'muted' }, text) : null,
        h('div', { class: 'acts' }, h('button', { class: 'button', value: '' }, 'Keep'), h('button', { class: 'button danger solid', value: 'yes' }, action))));
    dialog.addEventListener('close', () => { resolve(dialog.returnValue === 'yes'); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** The next frame, at most once per frame. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}
