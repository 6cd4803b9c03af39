// Finding things, and what is not there.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { Station } from './station.mjs';

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('adder', 'export default (input) => input.a + input.b;');
  await station.agent('thrower', 'export default () => { throw new Error("the lamp is out"); };');
  for (const [agent, input] of [['adder', { a: 1, b: 2 }], ['thrower', {}], ['adder', { a: 3, b: 4 }]]) {
    await station.when(await station.run(agent, input), (run) => ['succeeded', 'failed'].includes(run.state));
  }
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const rows = () => page.locator('[data-run]').count();

test('runs are filtered by state and agent, and the address can be kept', async () => {
  await page.goto(`${station.origin}/runs`);
  assert.equal(await rows(), 3);
  await page.getByLabel('State').selectOption('failed');
  await page.waitForURL(/state=failed/);
  assert.equal(await rows(), 1);
  assert.match(await page.locator('[data-run]').innerText(), /the lamp is out/);
  await page.getByLabel('State').selectOption('');
  await page.waitForURL((url) => !url.searchParams.get('state'));
  await page.getByLabel('Agent', { exact: true }).selectOption('adder');
  await page.waitForURL(/agent=adder/);
  assert.equal(await rows(), 2);
  await page.reload();
  assert.equal(await rows(), 2);
});

test('a new run appears in the list without a reload', async () => {
  await page.goto(`${station.origin}/runs`);
  const before = await rows();
  await station.run('adder', { a: 5, b: 6 });
  await page.waitForFunction((n) => document.querySelectorAll('[data-run]').length === n, before + 1);
});

test('agents are found by name, and the search from everywhere leads there', async () => {
  await page.goto(`${station.origin}/runs`);
  await page.keyboard.press('Control+K');
  await page.keyboard.type('thro');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/agents\?q=thro/);
  assert.deepEqual(await page.locator('.item .title').allInnerTexts(), ['thrower']);
  await page.goto(`${station.origin}/agents?q=no-such-thing`);
  await page.getByText('Nothing matches').waitFor();
});

test('a failed run says why, and the key F goes there', async () => {
  const { items } = await station.api('/runs?state=failed');
  await page.goto(`${station.origin}/runs/${items[0].id}`);
  await page.locator('.notice.fail', { hasText: 'the lamp is out' }).waitFor();
  await page.locator('[data-sync="finished"]').waitFor();
  await page.keyboard.press('f');
  await page.locator('.log-row[aria-selected="true"]', { hasText: 'failed' }).waitFor();
});

test('what is not there says so', async () => {
  const run = (await station.api('/runs')).items[0].id;
  for (const path of ['/nowhere', '/agents/nobody', `/runs/${run.slice(0, -4)}0000`, '/runs/run_nonsense']) {
    const answer = await page.goto(station.origin + path);
    assert.equal(answer.status(), 404, path);
    await page.getByRole('heading', { name: 'Not found' }).waitFor();
    await page.getByText(/req_/).waitFor();
  }
});
