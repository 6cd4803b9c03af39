// Two texts line by line: what goes, what comes, what stays.

const LINES_MAX = 400;

/** [kind, line] in order; kind is '' for a line in both, 'gone' or 'come'. By the longest common subsequence. */
export function diff(before, after) {
  const [a, b] = [before.split('\n').slice(0, LINES_MAX), after.split('\n').slice(0, LINES_MAX)];
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(['', a[i]]);
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      lines.push(['gone', a[i]]);
      i += 1;
    } else {
      lines.push(['come', b[j]]);
      j += 1;
    }
  }
  return lines;
}
