// Deciding: on the queue, on the run's page, by key, with changes, and when somebody was first.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const order = `
export default async function run(input, station) {
  const decision = await station.approvals.request({
    action: 'Order 40 chairs', arguments: { chairs: 40, from: 'shop.example.com' }, reason: 'The **old** ones broke: <script>alert(1)</script>',
    verbs: ['approve', 'edit', 'deny'], onTimeout: 'deny',
  });
  return { verb: decision.verb, chairs: decision.arguments.chairs, reason: decision.reason };
}`;
const writer = `
export default async function run(input, station) {
  const answer = await station.http.post(input.to, { lamps: 4, for: 'the hall' });
  return { status: answer.status };
}`;

const hurried = `
export default async function run(input, station) {
  const answer = await station.http.post(input.to, { lamps: 4 });
  return { status: answer.status, text: answer.text() };
}`;

let station, browser, page, other;
let asked = 0;
/** Told when a request comes that is never answered. */
let slow = null;
before(async () => {
  other = createServer((request, response) => {
    request.resume();
    if (request.url === '/slow') {
      slow?.();
      return;
    }
    asked += 1;
    response.writeHead(201, { 'content-type': 'application/json' }).end('{"order":7}');
  });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('orders', order);
  await station.agent('writer', writer, `[capabilities]\nhttp = [{ host = "127.0.0.1:${other.address().port}", methods = ["POST"] }]\n`);
  await station.agent('hurried', hurried, `[capabilities]\nhttp = [{ host = "127.0.0.1:${other.address().port}", methods = ["POST"], approval = "never" }]\n`);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

const asks = async (run) => {
  await station.when(run, (now) => now.state === 'waiting');
  return (await station.api(`/runs/${run}/approvals`)).items[0];
};
const card = (id) => page.locator(`[data-approval="${id}"]`);

test('an empty queue says what it is for', async () => {
  await page.goto(`${station.origin}/approvals`);
  await page.getByRole('heading', { name: 'Nothing waits for you' }).waitFor();
  await shot(page, 'approvals-empty');
});

test('what comes in while one looks appears, and is approved by its button', async () => {
  const run = await station.run('orders');
  const { id } = await asks(run);
  await card(id).getByRole('heading', { name: 'Order 40 chairs' }).waitFor();
  assert.equal(await page.locator('.rail .badge').innerText().then((text) => text.trim().split(/\s/)[0]), '1');
  assert.equal(await card(id).locator('.ap-reason strong').innerText(), 'old');
  assert.equal(await card(id).locator('.ap-reason script').count(), 0);
  await card(id).getByRole('button', { name: 'Approve' }).first().click();
  await card(id).getByText(/Approved by Ana \d\d:\d\d, \d+ s after the request/).waitFor();
  assert.equal((await station.when(run, (now) => now.state === 'succeeded')).output.verb, 'approve');
});

test('D asks for a reason, and the agent gets it', async () => {
  const run = await station.run('orders');
  const { id } = await asks(run);
  await card(id).waitFor();
  await card(id).focus();
  await page.keyboard.press('d');
  await page.keyboard.type('Too dear');
  await shot(page, 'approvals-deny');
  await card(id).getByRole('button', { name: 'Deny' }).click();
  await card(id).getByText('Denied by Ana').waitFor();
  await card(id).getByText('Too dear').waitFor();
  assert.deepEqual((await station.when(run, (now) => now.state === 'succeeded')).output, { verb: 'deny', chairs: 40, reason: 'Too dear' });
});

test('an edit shows what changes while it is typed', async () => {
  const run = await station.run('orders');
  const { id } = await asks(run);
  await page.goto(`${station.origin}/approvals/${id}`);
  await card(id).getByText('Edit first').click();
  await card(id).getByLabel('Arguments').fill('{"chairs": 4');
  await card(id).getByText('This is no JSON yet').waitFor();
  await card(id).getByLabel('Arguments').fill('{"chairs": 4, "from": "shop.example.com"}');
  assert.deepEqual(await card(id).locator('.diff .gone').allInnerTexts(), ['  "chairs": 40,']);
  assert.deepEqual(await card(id).locator('.diff .come').allInnerTexts(), ['  "chairs": 4,']);
  await shot(page, 'approvals-edit');
  await card(id).getByRole('button', { name: 'Approve with these changes' }).click();
  await card(id).getByText('Approved with changes by Ana').waitFor();
  assert.equal((await station.when(run, (now) => now.state === 'succeeded')).output.chairs, 4);
});

test('who comes second is told who was first', async () => {
  const run = await station.run('orders');
  const { id } = await asks(run);
  await page.goto(`${station.origin}/approvals/${id}`);
  await station.api(`/approvals/${id}/decision`, { method: 'POST', json: { decision: 'deny', reason: 'No' } });
  await card(id).getByRole('button', { name: 'Approve' }).first().click();
  await card(id).getByText('Somebody was first').waitFor();
  await card(id).getByText('Denied by Ana').waitFor();
  assert.equal(page.faults.filter((fault) => !fault.includes('409')).length, 0, String(page.faults));
  page.faults.length = 0;
});

test('a write waits on the run’s page, and goes out once it is approved with A', async () => {
  const run = await station.run('writer', { to: `http://127.0.0.1:${other.address().port}/orders` });
  const { id } = await asks(run);
  await page.goto(`${station.origin}/runs/${run}`);
  await page.locator('[data-approvals]').getByRole('heading', { name: `POST http://127.0.0.1:${other.address().port}/orders` }).waitFor();
  assert.deepEqual(await card(id).first().locator('.ap-args th').allInnerTexts().then((names) => names.slice(-2)), ['for', 'lamps']);
  await page.getByText('waits for a decision').first().waitFor();
  await shot(page, 'run-approval');
  assert.equal(asked, 0);
  await page.locator('[data-approvals] [data-approval]').focus();
  await page.keyboard.press('a');
  await finished(page);
  assert.equal(asked, 1);
  await page.locator('[data-approvals]').getByText('Approved by Ana').waitFor();
  assert.deepEqual(page.faults, []);
});

test('a write whose answer was lost is put to a person, who says what happened', async () => {
  const under = new Promise((resolve) => { slow = resolve; });
  const run = await station.run('hurried', { to: `http://127.0.0.1:${other.address().port}/slow` });
  await under;
  await station.kill();
  await station.restart();
  const { id, kind } = await asks(run);
  assert.equal(kind, 'unknown_outcome');
  page.faults.length = 0;
  await page.goto(`${station.origin}/approvals/${id}`);
  await card(id).getByText('The station stopped after it had begun to send').waitFor();
  await card(id).getByText('It happened', { exact: true }).click();
  await card(id).getByLabel('Status that it answered').fill('202');
  await card(id).getByLabel('Body').fill('taken');
  await shot(page, 'approvals-unknown');
  await card(id).getByRole('button', { name: 'It happened, with this answer' }).click();
  await card(id).getByText('It happened, says Ana').waitFor();
  assert.deepEqual((await station.when(run, (now) => now.state === 'succeeded')).output, { status: 202, text: 'taken' });
  assert.deepEqual(page.faults, []);
});

test('without JavaScript the same is done by forms', async () => {
  const plain = await open(browser, { javaScriptEnabled: false });
  await signIn(plain, station.origin);
  const run = await station.run('orders');
  const { id } = await asks(run);
  await plain.goto(`${station.origin}/approvals`);
  await plain.locator(`[data-approval="${id}"] summary`, { hasText: 'Deny' }).click();
  await plain.locator(`[data-approval="${id}"]`).getByLabel('Why not?').fill('Not now');
  await plain.locator(`[data-approval="${id}"]`).getByRole('button', { name: 'Deny', exact: true }).click();
  await plain.getByText('Denied by Ana').waitFor();
  assert.equal((await station.when(run, (now) => now.state === 'succeeded')).output.reason, 'Not now');
  await plain.goto(`${station.origin}/approvals?state=decided`);
  await plain.getByText('Denied by Ana').first().waitFor();
  await shot(plain, 'approvals-decided');
  assert.deepEqual(plain.faults, []);
  await plain.context().close();
});
