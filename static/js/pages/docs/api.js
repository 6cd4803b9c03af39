// The search of the API reference, and shapes that open where a link leads to them.

const search = document.querySelector('[data-search]');
const input = search.querySelector('input');
const found = search.querySelector('[data-found]');
const operations = [...document.querySelectorAll('[data-operation]')].map((element) => ({
  element, words: element.dataset.words.toLowerCase(), entry: document.querySelector(`[data-toc-of="${CSS.escape(element.dataset.operation)}"]`),
}));

function filter() {
  const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { element, words, entry } of operations) {
    const shown = wanted.every((word) => words.includes(word));
    element.hidden = !shown;
    if (entry) entry.hidden = !shown;
    count += Number(shown);
  }
  for (const group of document.querySelectorAll('[data-group]')) {
    const empty = !group.querySelector('[data-operation]:not([hidden])');
    group.hidden = empty;
    const entry = document.querySelector(`[data-toc="${CSS.escape(group.dataset.group)}"]`);
    if (entry) entry.hidden = empty;
  }
  document.querySelector('[data-shapes]').hidden = wanted.length > 0;
  const many = count === 1 ? 'One operation' : `${count} operations`;
  found.textContent = wanted.length === 0 ? '' : count === 0 ? 'Nothing matches. Try another word.' : many;
}

function openTarget() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = id && document.getElementById(id);
  if (!target) return;
  if (target.closest('[hidden]')) {
    input.value = '';
    filter();
  }
  if (target instanceof HTMLDetailsElement) target.open = true;
  target.scrollIntoView();
}

search.hidden = false;
input.addEventListener('input', filter);
addEventListener('hashchange', openTarget);
// Paper has no summaries to click on.
const closed = new Set();
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('.docs details:not([open])')) {
    closed.add(details);
    details.open = true;
  }
});
addEventListener('afterprint', () => {
  for (const details of closed) details.open = false;
  closed.clear();
});
openTarget();
