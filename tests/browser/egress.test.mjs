// What an agent may reach, whom a run reached, and tools on the timeline.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const code = `
export default async function run(input, station) {
  const page = await station.tools.call('http_request', { url: input.url, as_text: true });
  const sum = await station.tools.call('calculator', { expression: '19.99 * 3' });
  await station.tools.call('memory_put', { key: 'page', value: page.body });
  return { text: page.body, sum: sum.value };
}
`;

let station, browser, page, other, host, run;
before(async () => {
  other = createServer((request, response) => {
    request.resume();
    if (request.url === '/v1/old') response.writeHead(302, { location: '/v1/new' }).end();
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Lamps</h1><p>Four are lit.</p>');
  });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  host = `127.0.0.1:${other.address().port}`;
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('lamp-reader', code, `[capabilities]\nmemory = true\nhttp = [{ host = "${host}", methods = ["GET", "PUT"], path = "/v1" }]\ntools = ["http_request", "calculator", "memory_put"]\nask = ["calculator"]\n`);
  run = await station.run('lamp-reader', { url: `http://${host}/v1/old` });
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

test('the agent’s page says what it may reach, in words, and why its writes ask', async () => {
  await page.goto(`${station.origin}/agents/lamp-reader`);
  await page.getByText(`Send GET, PUT requests to ${host}, where the path begins with /v1`).waitFor();
  await page.getByText('Use the tool “calculator”: calculate; a person decides each time').waitFor();
  const flag = page.locator('[data-trifecta]');
  await flag.getByRole('heading', { name: 'A person decides about its writes' }).waitFor();
  for (const why of ['what it remembers', `what ${host} answers`, `PUT to ${host}`]) await flag.getByText(why).first().waitFor();
  await page.getByText(`PUT to ${host}/v1: asks a person`).waitFor();
  await shot(page, 'agent-trifecta');
});

test('a tool that asks is approved on the run’s page, and the run goes on', async () => {
  await page.goto(`${station.origin}/runs/${run}`);
  await page.getByText('Use the tool “calculator”').first().waitFor();
  await page.getByRole('button', { name: /^Approve/ }).first().click();
  await finished(page);
  assert.equal((await station.api(`/runs/${run}`)).state, 'succeeded', await page.locator('[data-failure]').innerText());
});

test('the run shows the tools that it used and whom it reached', async () => {
  await page.locator('.log-row', { hasText: 'http_request' }).first().click();
  await page.locator('.in-body', { hasText: 'Four are lit.' }).waitFor();
  await page.getByRole('tab', { name: 'Arguments' }).click();
  await page.locator('.in-body', { hasText: '/v1/old' }).waitFor();
  await page.goto(`${station.origin}/runs/${run}`);
  await finished(page);
  await page.getByRole('tab', { name: 'Hosts 1' }).click();
  const row = page.locator('.in-body tbody tr');
  assert.deepEqual((await row.locator('td').allInnerTexts()).slice(0, 3), [host, '2', '0'], 'the redirect counts');
  await shot(page, 'run-hosts');
  assert.deepEqual(page.faults, []);
});
