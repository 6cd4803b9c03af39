// Rows of the timeline: a row for each step, more where its calls overlap or are of several sorts, and a row for each child.

import { label } from './words.js';

const LANES_PER_LABEL_MAX = 64;

/**
 * Rows in drawing order: {name, depth, step, bars, marks, head}. `head` is the first row of a step, or of the run itself.
 * A head row takes the step's first lane of calls, so that a plain step is one row.
 */
export function layOut(model, runName) {
  const root = { step: null, children: [], lanes: new Map(), marks: [] };
  const groups = new Map([[null, root]]);
  for (const step of model.steps) {
    const group = { step, children: [], lanes: new Map(), marks: [] };
    groups.set(step, group);
    (groups.get(step.step) ?? root).children.push(group);
  }
  for (const item of model.items) {
    if (item.family === 'step' || item.kind === 'calls.all') continue;
    const group = groups.get(item.step) ?? root;
    if (item.instant) {
      group.marks.push(item);
      continue;
    }
    const name = item.attempt > 0 ? `${label(item)}, attempt ${item.attempt + 1}` : label(item);
    // Each child has a lane of its own, from its start to its end.
    const key = item.child ? item.child.run : name;
    let lanes = group.lanes.get(key);
    if (!lanes) {
      group.lanes.set(key, lanes = []);
      lanes.name = name;
    }
    let lane = lanes.find((candidate) => candidate.until <= item.from);
    if (!lane) {
      lane = lanes.length < LANES_PER_LABEL_MAX ? { until: 0, bars: [] } : lanes[0];
      if (lane !== lanes[0]) lanes.push(lane);
    }
    lane.until = Math.max(lane.until, item.to ?? Infinity);
    lane.bars.push(item);
  }
  const rows = [];
  const place = (group, depth) => {
    const lanes = [...group.lanes.values()].flatMap((list) => list.map((lane, i) => ({ name: i === 0 ? list.name : '', bars: lane.bars })));
    // Calls of one sort share the step's own row; several sorts get a row each, so that their names can be read.
    const shared = group.lanes.size === 1 && group.step !== null ? lanes.shift() : null;
    rows.push({ name: group.step ? group.step.meta.name ?? 'step' : runName, depth, step: group.step, head: true, bars: shared?.bars ?? [], marks: group.marks });
    for (const lane of lanes) rows.push({ name: lane.name, depth: depth + 1, step: group.step, head: false, bars: lane.bars, marks: [] });
    for (const child of group.children) place(child, depth + 1);
  };
  place(root, 0);
  return rows;
}
