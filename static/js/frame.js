// What every signed-in page has: search by Ctrl-K, theme, copy buttons, questions before what cannot be undone, times that stay true.

import { confirmed, copy } from './dom.js';
import { refreshTimes } from './times.js';

const themes = ['system', 'light', 'dark'];

function setUpTheme() {
  const button = document.querySelector('[data-theme-toggle]');
  if (!button) return;
  const current = () => document.documentElement.dataset.theme ?? 'system';
  const show = () => { button.querySelector('.word').textContent = `Theme: ${current()}`; };
  button.hidden = false;
  show();
  button.addEventListener('click', () => {
    const next = themes[(themes.indexOf(current()) + 1) % themes.length];
    if (next === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try { localStorage.setItem('theme', next); } catch { /* Holds for this page only. */ }
    show();
    document.dispatchEvent(new Event('themechange'));
  });
}

function setUpSearch() {
  const input = document.querySelector('[data-find]');
  if (!input) return;
  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (event.key === 'Escape' && event.target === input) input.blur();
  });
  input.form.addEventListener('submit', (event) => {
    const text = input.value.trim();
    if (!text.startsWith('run_')) return;
    event.preventDefault();
    location.assign(`/runs/${encodeURIComponent(text)}`);
  });
}

function setUpCopy() {
  for (const button of document.querySelectorAll('[data-copy]')) button.hidden = false;
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-copy]');
    if (button) copy(button.dataset.copy);
  });
}

function setUpConfirm() {
  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!form.dataset.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    if (await confirmed({ title: form.dataset.confirm, text: form.dataset.confirmText, action: form.dataset.confirmDo ?? 'Go on' })) {
      form.dataset.confirmed = 'yes';
      form.requestSubmit();
    }
  });
}

function setUpFilters() {
  for (const form of document.querySelectorAll('[data-autosubmit]')) {
    const button = form.querySelector('[data-submit]');
    if (button) button.hidden = true;
    form.addEventListener('change', () => {
      const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ''));
      location.assign(`${form.action.split('?')[0]}${wanted.size ? `?${wanted}` : ''}`);
    });
  }
}

/** On a phone the tab of this page may be far to the right. */
function showTab() {
  document.querySelector('.tabs [aria-current="page"]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
}

setUpTheme();
showTab();
setUpSearch();
setUpCopy();
setUpConfirm();
setUpFilters();
refreshTimes();
setInterval(() => refreshTimes(), 15_000);
