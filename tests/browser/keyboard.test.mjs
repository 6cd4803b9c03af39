// Without a mouse: signing in, finding an agent, running it, reading its timeline, deciding; and on every page each control
// is reached by Tab, has a name, and shows that it has the focus.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { finished, launch, open } from './browser.mjs';
import { owner, Station, talker, talkerMay } from './station.mjs';

const asker = `
export default async function run(input, station) {
  const decision = await station.approvals.request({ action: 'Light the lamps', arguments: { lamps: 4 }, reason: 'It is dark' });
  return { lit: decision.approved };
}`;

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('talker', talker, talkerMay);
  await station.agent('asker', asker);
  page = await open(browser, { viewport: { width: 1280, height: 1000 } });
  page.mouse.click = () => { throw new Error('there is no mouse'); };
});
after(async () => { await browser?.close(); await station?.stop(); });

const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
/** Presses Tab until what has the focus fits. */
const tabTo = async (fits, what) => {
  for (let n = 0; n < 120; n += 1) {
    await press('Tab');
    if (await page.evaluate(fits)) return;
  }
  throw new Error(`Tab never comes to ${what}`);
};
const named = (name) => `document.activeElement?.textContent?.trim().startsWith(${JSON.stringify(name)})`;

test('one signs in with the keyboard', async () => {
  await page.goto(`${station.origin}/sign-in`);
  await tabTo("document.activeElement?.type === 'email'", 'the address');
  await page.keyboard.type(owner.email);
  await tabTo("document.activeElement?.type === 'password'", 'the password');
  await page.keyboard.type(owner.password);
  await press('Enter');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
});

test('the first Tab skips what every page has', async () => {
  await press('Tab');
  assert.ok(await page.evaluate(named('Skip to the content')));
  await press('Enter');
  assert.ok(await page.evaluate("document.activeElement?.id === 'content' || location.hash === '#content'"));
});

test('an agent is found and run, and its timeline read', async () => {
  await press('Control+k');
  await page.keyboard.type('talker');
  await press('Enter');
  await page.getByRole('link', { name: 'talker' }).first().waitFor();
  await tabTo("document.activeElement?.getAttribute('href') === '/agents/talker'", 'the agent');
  await press('Enter');
  await page.waitForURL('**/agents/talker');
  await tabTo("document.activeElement?.getAttribute('href') === '/agents/talker/run'", 'its Run button');
  await press('Enter');
  await page.waitForURL('**/agents/talker/run');
  await tabTo("document.activeElement?.matches('textarea, input[name=input], [contenteditable]')", 'the input');
  await press('Control+a');
  await page.keyboard.insertText('{"rounds": 1}');
  await tabTo("document.activeElement?.type === 'submit' && document.activeElement.closest('main') !== null", 'the button that starts it');
  await press('Enter');
  await page.waitForURL(/\/runs\/run_/);
  await finished(page);
  await tabTo("document.activeElement?.getAttribute('role') === 'listbox'", 'the entries');
  await press('ArrowDown', 'ArrowDown');
  await page.locator('.log-row[aria-selected="true"]').waitFor();
});

test('what waits for a decision is decided', async () => {
  const run = await station.run('asker');
  await station.when(run, (now) => now.state === 'waiting');
  await page.goto(`${station.origin}/approvals`);
  await tabTo(named('Approve'), 'the Approve button');
  await press('Enter');
  const done = await station.when(run, (now) => now.state === 'succeeded');
  assert.deepEqual(done.output, { lit: true });
});

const paths = [
  '/', '/runs', '/agents', '/agents/talker', '/agents/talker/run', '/agents/new', '/sessions', '/sessions/new', '/approvals', '/dead-letters',
  '/settings', '/settings/workspaces', '/settings/members', '/settings/roles', '/settings/keys', '/settings/models', '/settings/models/providers/new', '/settings/models/aliases/default', '/settings/policy', '/settings/policy/versions', '/settings/audit',
  '/station/orgs', '/station/mail', '/station/security', '/station/audit', '/account', '/account/sign-in', '/account/sessions', '/account/keys', '/account/data', '/docs/api', '/prove', '/switch',
];

test('each control of every page is reached, has a name and shows its focus', async () => {
  for (const path of paths) {
    await page.goto(station.origin + path, { waitUntil: 'load' });
    const wanted = await page.evaluate(() => {
      const controls = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')];
      const shown = controls.filter((each) => each.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }) && !each.disabled && each.type !== 'hidden' && each.tabIndex >= 0);
      // Of radio buttons one is a stop of Tab, and arrows lead to the others.
      const stops = shown.filter((each) => each.type !== 'radio' || each.checked);
      stops.forEach((each, n) => { each.dataset.stop = n; });
      return stops.length;
    });
    const reached = new Map();
    let last;
    for (let n = 0; n < wanted * 2 + 10; n += 1) {
      // In an editor Tab indents; Escape before it leads on.
      if (await page.evaluate("document.activeElement?.matches('textarea, .host') ?? false")) await press('Escape');
      await press('Tab');
      const now = await page.evaluate(() => {
        const at = document.activeElement;
        if (!at || at === document.body) return null;
        const style = getComputedStyle(at);
        const after = getComputedStyle(at, '::after');
        const rings = style.outlineStyle !== 'none' || style.boxShadow !== 'none' || after.outlineStyle !== 'none';
        const label = at.getAttribute('aria-label') || (at.getAttribute('aria-labelledby') && document.getElementById(at.getAttribute('aria-labelledby'))?.textContent)
          || [...(at.labels ?? [])].map((each) => each.textContent).join(' ') || at.textContent || at.title || at.placeholder || '';
        return { stop: at.dataset.stop, what: at.outerHTML.slice(0, 120), rings, label: label.trim() };
      });
      // A date has stops of its own within it.
      if (now?.stop === undefined || now.stop === last) continue;
      last = now.stop;
      if (reached.has(now.stop)) break;
      reached.set(now.stop, now);
    }
    const missing = await page.evaluate((stops) => [...document.querySelectorAll('[data-stop]')]
      .filter((each) => !stops.includes(each.dataset.stop) && each.checkVisibility()).map((each) => each.outerHTML.slice(0, 120)), [...reached.keys()]);
    assert.deepEqual(missing, [], `${path}: never reached`);
    for (const each of reached.values()) {
      assert.ok(each.rings, `${path}: no sign of focus on ${each.what}`);
      assert.notEqual(each.label, '', `${path}: no name on ${each.what}`);
    }
  }
  assert.deepEqual(page.faults, []);
});
