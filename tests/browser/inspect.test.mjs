// What is behind an entry, by its kind.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { Station } from './station.mjs';

const code = `
export default async function run(input, station) {
  const at = 'http://127.0.0.1:' + input.port;
  const [found, missing] = await Promise.all([
    station.http.post(at + '/lamps', { want: 'lit' }),
    station.http.get(at + '/nowhere'),
  ]);
  const refused = await station.http.get('http://localhost.example/').catch((error) => error.code);
  await station.memory.put('lamps', found.json());
  await station.artifacts.put('lamps.csv', 'lamp,hours\\nnorth,12\\nsouth,7\\n', 'text/csv');
  return { status: [found.status, missing.status], refused };
}
`;

let station, browser, page, other;
before(async () => {
  other = createServer((request, response) => {
    request.resume();
    if (request.url === '/lamps') response.writeHead(200, { 'content-type': 'application/json' }).end('{"lit":["north","south"]}');
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('no such thing');
  });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('inspector', code, `[capabilities]\nhttp = [{ host = "127.0.0.1:${other.address().port}", methods = ["GET", "POST"], approval = "never" }]\nmemory = true\n`);
  const { org } = await station.api('/me');
  const host = `127.0.0.1:${other.address().port}`;
  await station.api(`/orgs/${org.id}/policy`, { method: 'PUT', json: { rules: [{ id: 'lamps', effect: 'allow', what: { http: { hosts: [host] } } }] } });
  const run = await station.run('inspector', { port: other.address().port });
  page = await open(browser);
  await signIn(page, station.origin);
  await page.goto(`${station.origin}/runs/${run}`);
  await finished(page);
  assert.equal((await station.api(`/runs/${run}`)).state, 'succeeded', await page.locator('[data-failure]').innerText());
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

const select = (text) => page.locator('.log-row', { hasText: text }).click();
const block = (name) => page.locator(`.in-body pre[aria-label="${name}"]`);

test('a request shows what was sent and what came back', async () => {
  await select('/lamps');
  await page.getByText('200').first().waitFor();
  await page.locator('.in-body pre', { hasText: '"north"' }).waitFor();
  await page.getByRole('tab', { name: 'Request' }).click();
  await page.locator('.in-body pre', { hasText: '"want": "lit"' }).waitFor();
  await page.getByRole('tab', { name: 'Response' }).click();
  await select('/nowhere');
  await page.locator('.in-body pre', { hasText: 'no such thing' }).waitFor();
});

test('a request that was not granted says so', async () => {
  await select('localhost.example');
  await page.locator('.in-body .notice.fail', { hasText: 'not granted' }).waitFor();
});

test('memory shows its value, and a table is shown as one', async () => {
  await select('remembered');
  await block('Value').filter({ hasText: '"south"' }).waitFor();
  await select('lamps.csv');
  await page.getByRole('cell', { name: 'north' }).waitFor();
  assert.deepEqual(await page.locator('.in-body th').allInnerTexts(), ['lamp', 'hours']);
  assert.deepEqual(page.faults, []);
});
