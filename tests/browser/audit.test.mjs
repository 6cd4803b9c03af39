// The audit log: filtered by action, a row opened, exported, verified; and on a phone.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station, talker, talkerMay } from './station.mjs';

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('talker', talker, talkerMay);
  page = await open(browser);
  await signIn(page, station.origin);
  await page.goto(`${station.origin}/settings/audit`);
});
after(async () => { await browser?.close(); await station?.stop(); });

const rows = () => page.locator('tr[data-seq]');

test('rows are filtered by action', async () => {
  assert.ok(await rows().count() >= 2);
  await page.getByLabel('Action', { exact: true }).selectOption('agent.publish');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.waitForURL('**action=agent.publish**');
  assert.equal(await rows().count(), 1);
  await page.getByRole('link', { name: 'Clear' }).waitFor();
});

test('a row opens and says the rest', async () => {
  const row = rows().first();
  const facts = row.locator('dl');
  assert.ok(!await facts.isVisible());
  await row.locator('summary').click();
  await facts.waitFor();
  assert.match(await facts.innerText(), /agent\.publish/);
  await shot(page, 'audit-row');
});

test('what matches is exported', async () => {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'CSV' }).click()]);
  assert.match(download.suggestedFilename(), /\.csv$/);
  const lines = (await readFile(await download.path(), 'utf8')).trim().split('\n');
  assert.equal(lines.length, 2, 'a head and the one row');
  assert.match(lines[1], /agent\.publish/);
});

test('the log is verified', async () => {
  await page.getByRole('link', { name: 'Clear' }).click();
  await page.waitForURL(`${station.origin}/settings/audit`);
  await page.getByText('Exported the audit log').first().waitFor();
  await page.getByRole('button', { name: 'Verify the log' }).click();
  assert.match(await page.getByRole('status').innerText(), /Verified: \d+ rows intact/);
  await shot(page, 'audit');
});

test('it fits on a phone, rows open or not', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(await wide() <= 0, `${await wide()} pixels too wide`);
  await rows().first().locator('summary').click();
  assert.ok(await wide() <= 0, `${await wide()} pixels too wide with a row open`);
  await shot(page, 'audit-phone');
  assert.deepEqual(page.faults, []);
});
