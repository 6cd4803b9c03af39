// Finished runs again: verified against their journal, and forked from an entry.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { Station } from './station.mjs';

const code = `
export default async function run(input, station) {
  const count = Number(await (await station.http.get('http://127.0.0.1:' + input.port + '/lamps')).text());
  station.timeline.info('counted ' + count);
  return { lamps: count };
}
`;

let station, browser, page, other, run;
before(async () => {
  other = createServer((request, response) => { response.writeHead(200, { 'content-type': 'text/plain' }).end('2'); });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('lamp-count', code, `[capabilities]\nhttp = [{ host = "127.0.0.1:${other.address().port}", methods = ["GET"] }]\n`);
  run = await station.run('lamp-count', { port: other.address().port });
  page = await open(browser);
  await signIn(page, station.origin);
  await page.goto(`${station.origin}/runs/${run}`);
  await finished(page);
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

test('a finished run is verified with a button', async () => {
  await page.getByRole('button', { name: 'Verify' }).click();
  await page.locator('[data-verified]', { hasText: 'Verified: identical.' }).waitFor();
  await page.locator('.log-row', { hasText: 'verified: identical' }).waitFor();
  assert.deepEqual(page.faults, []);
});

test('a run is forked from an entry with another answer, and says so', async () => {
  await page.locator('.log-row', { hasText: '/lamps' }).click();
  await page.getByRole('link', { name: 'Fork from here' }).click();
  await page.getByText('Playback is another thing').waitFor();
  const answer = page.getByLabel('What http.send answered');
  assert.equal(await page.getByLabel('Let it write without asking').isChecked(), false);
  await answer.fill((await answer.inputValue()).replace('"text": "2"', '"text": "40"'));
  await page.getByRole('button', { name: 'Fork from here' }).click();
  await page.locator('[data-origin]', { hasText: `Forked from run ${run}` }).waitFor();
  await page.locator('[data-origin] .new', { hasText: '"text": "40"' }).waitFor();
  await finished(page);
  await page.locator('.log-row', { hasText: 'counted 40' }).waitFor();
  // What it took over leads up to the fork: nothing stands before the beginning.
  const times = await page.locator('.log-row:not([hidden]) .at').allInnerTexts();
  assert.ok(times.every((time) => !time.includes('-') && !time.includes('−')), times.join(' '));
  assert.deepEqual(page.faults, []);
});
