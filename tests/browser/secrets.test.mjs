// Secrets: one is set, bound, given a new value, and sent by an agent; nobody sees it.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const sender = `
export default async function run(input, station) {
  const answer = await station.http.send({ method: 'GET', url: input.to, headers: { authorization: 'Bearer {{secret:shop-token}}' } });
  return { body: answer.text() };
}`;

let station, browser, ana, other, host;
const heard = [];
before(async () => {
  other = createServer((request, response) => {
    heard.push(request.headers.authorization);
    response.end(`you sent ${request.headers.authorization}`);
  });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  host = `127.0.0.1:${other.address().port}`;
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('sender', sender, `[capabilities]\nsecrets = ["shop-token"]\nhttp = [{ host = "${host}", methods = ["GET"] }]\n`);
  ana = await open(browser);
  await signIn(ana, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

async function run() {
  await ana.goto(`${station.origin}/agents/sender/run`);
  await ana.getByRole('textbox', { name: 'Input' }).fill(JSON.stringify({ to: `http://${host}/` }));
  await ana.getByRole('button', { name: 'Start the run' }).click();
  await finished(ana);
  await ana.getByRole('tab', { name: 'Output' }).click();
  await ana.locator('.in-body').getByText('[secret shop-token]').first().waitFor();
}

test('what does not fit is said beside the field, and the value is not shown again', async () => {
  await ana.goto(`${station.origin}/settings/secrets`);
  assert.equal(await ana.getByText('None yet.').count(), 2);
  await shot(ana, 'secrets-none');
  await ana.getByLabel('Name', { exact: true }).fill('shop-token');
  await ana.getByRole('textbox', { name: 'Value' }).fill('short');
  await ana.getByRole('button', { name: 'Set the secret' }).click();
  await ana.getByText('A value has 8 to 8192 bytes').waitFor();
  assert.equal(await ana.getByRole('textbox', { name: 'Value' }).inputValue(), '');
  assert.deepEqual(ana.faults.splice(0).filter((fault) => !fault.includes('422')), []);
});

test('a secret is set, bound and sent, and only its name comes back', async () => {
  await ana.getByRole('textbox', { name: 'Value' }).fill('first-value-0123456789');
  await ana.getByLabel('Host').fill(host);
  await ana.getByRole('button', { name: 'Set the secret' }).click();
  await ana.getByText('The secret is set.').waitFor();
  await ana.getByText('never', { exact: true }).waitFor();
  await shot(ana, 'secret');
  await run();
  assert.deepEqual(heard.splice(0), ['Bearer first-value-0123456789']);
  assert.ok(!(await ana.content()).includes('first-value'));
});

test('a new value is sent from the next call on, and the old one is destroyed', async () => {
  await ana.goto(`${station.origin}/settings/secrets`);
  await ana.getByRole('link', { name: 'shop-token' }).click();
  await ana.getByRole('textbox', { name: 'Value' }).fill('second-value-0123456789');
  await ana.getByRole('button', { name: 'Set the new value' }).click();
  await ana.getByText('The new value is set.').waitFor();
  await ana.getByRole('button', { name: 'Destroy version 1' }).click();
  await ana.getByRole('dialog').getByRole('button', { name: 'Destroy' }).click();
  await ana.getByText('The version is destroyed.').waitFor();
  await run();
  assert.deepEqual(heard.splice(0), ['Bearer second-value-0123456789']);
});

test('on a phone nothing is cut off, and the secret is removed', async () => {
  await ana.setViewportSize({ width: 390, height: 844 });
  await ana.goto(`${station.origin}/settings/secrets`);
  assert.ok(await ana.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  await ana.getByRole('link', { name: 'shop-token' }).click();
  assert.ok(await ana.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  await ana.getByRole('button', { name: 'Remove the secret' }).click();
  await ana.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await ana.getByText('The secret is removed.').waitFor();
  assert.equal(await ana.getByText('None yet.').count(), 2);
  assert.deepEqual(ana.faults, []);
});

test('with another master key the page says which is expected and where it is looked for', async () => {
  await ana.setViewportSize({ width: 1440, height: 900 });
  const file = join(station.folder, 'data', 'master.key');
  const [key, { origin }] = [await readFile(file, 'utf8'), station];
  await station.kill();
  await writeFile(file, `${randomBytes(32).toString('base64')}\n`);
  await station.restart();
  await ana.goto(`${origin}/settings/secrets`);
  await ana.getByText('Secrets cannot be opened or sealed').waitFor();
  await ana.getByText('Everything that needs none works.').waitFor();
  await shot(ana, 'secrets-sealed');
  await ana.goto(`${origin}/runs`);
  await ana.getByRole('heading', { name: 'Runs' }).waitFor();
  await station.kill();
  await writeFile(file, key);
  await station.restart();
});
