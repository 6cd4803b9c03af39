// Policy: a rule is written on its page, a run asks because of it, and two people approve.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station, owner } from './station.mjs';

const bo = { name: 'Bo', email: 'bo@example.com', role: 'admin', password: owner.password };
const writer = `
export default async function run(input, station) {
  const answer = await station.http.post(input.to, { lamps: 4, for: 'the hall' });
  return { status: answer.status };
}`;

let station, browser, ana, other, host;
let asked = 0;
before(async () => {
  other = createServer((request, response) => {
    request.resume();
    asked += 1;
    response.writeHead(201).end('{}');
  });
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  host = `127.0.0.1:${other.address().port}`;
  [station, browser] = await Promise.all([Station.start({ people: [bo] }), launch()]);
  await station.agent('writer', writer, `[capabilities]\nhttp = [{ host = "${host}", methods = ["GET", "POST"], approval = "never" }]\nmodels = ["default"]\n`);
  ana = await open(browser);
  await signIn(ana, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); other?.close(); });

test('a page without rules says what holds by default', async () => {
  await ana.goto(`${station.origin}/settings/policy`);
  await ana.getByText('There are none.').waitFor();
  await ana.getByRole('heading', { name: 'What holds by default' }).waitFor();
  await shot(ana, 'policy-none');
});

test('a rule is written, tried and stored', async () => {
  await ana.getByRole('button', { name: 'Requests to hosts' }).click();
  await ana.getByLabel('Hosts').fill('https://nowhere');
  await ana.getByLabel('POST').check();
  await ana.getByLabel('How many must agree').fill('2');
  await ana.getByLabel('Each of them').selectOption('admin');
  await ana.getByLabel('Name of the rule').fill('two-for-posts');
  await ana.getByLabel('Note').fill('Orders cost money');
  await shot(ana, 'policy-rule');
  await ana.getByLabel('Deny').check();
  assert.ok(await ana.getByLabel('How many must agree').isHidden(), 'a denial asks nobody');
  await ana.getByLabel('Ask', { exact: false }).first().check();
  await ana.getByRole('button', { name: 'Add the rule' }).click();
  await ana.getByText('“https://nowhere” is no host').waitFor();
  assert.deepEqual(ana.faults.splice(0).filter((fault) => !fault.includes('422')), []);
  await ana.getByLabel('Hosts').fill('127.0.0.1');
  await ana.getByRole('button', { name: 'Add the rule' }).click();
  await ana.getByRole('heading', { name: 'Not stored yet' }).waitFor();
  assert.equal(await ana.locator('.diff .come').innerText(), 'two-for-posts: Ask 2 admins before POST to 127.0.0.1 (Orders cost money)');

  await ana.getByRole('button', { name: 'Models' }).click();
  await ana.getByLabel('Names').fill('expensive-*');
  await ana.getByLabel('Deny').check();
  await ana.getByRole('button', { name: 'Add the rule' }).click();
  await ana.getByRole('button', { name: 'Move model-rule up' }).click();
  assert.match(await ana.locator('.po-rule').first().innerText(), /Deny using the model “expensive-\*”/);
  await shot(ana, 'policy-draft');

  await ana.getByLabel('Address').fill(`http://${host}/order`);
  await ana.getByRole('button', { name: 'Try it' }).click();
  await ana.locator('[data-tried="ask"]').getByText('It would wait for 2 admins').waitFor();
  await ana.getByLabel('Why', { exact: false }).fill('The first rules');
  await ana.getByRole('button', { name: 'Store this policy' }).click();
  await ana.getByText('Stored. It holds from the next call of every run.').waitFor();
  await ana.getByText('Version 1, by Ana').waitFor();
  await shot(ana, 'policy');
  assert.deepEqual(ana.faults, []);
});

test('the page of an agent says what the policy says to it', async () => {
  await ana.goto(`${station.origin}/agents/writer`);
  await ana.getByText(`POST to ${host}: asks 2 admins`).waitFor();
  await shot(ana, 'policy-agent');
});

test('a run asks because of the rule, and two people approve', async () => {
  const run = await station.run('writer', { to: `http://${host}/order` });
  await station.when(run, (now) => now.state === 'waiting');
  await ana.goto(`${station.origin}/approvals`);
  await ana.getByText('It asks 2 admins').waitFor();
  await ana.getByText('0 of 2 approved').waitFor();
  await ana.getByRole('button', { name: 'Approve' }).click();
  await ana.getByText('1 of 2 approved: Ana').waitFor();
  assert.equal(await ana.locator('[data-approval]').getByRole('button', { name: 'Approve', exact: false }).filter({ visible: true }).count(), 0, 'once is enough of one');
  await shot(ana, 'policy-approval');
  assert.equal(asked, 0);

  const page = await open(browser);
  await signIn(page, station.origin, bo);
  await page.goto(`${station.origin}/runs/${run}`);
  await page.getByText('1 of 2 approved: Ana').waitFor();
  await page.getByRole('button', { name: 'Approve' }).click();
  await station.when(run, (now) => now.state === 'succeeded');
  assert.equal(asked, 1);
  await page.goto(`${station.origin}/runs/${run}`);
  await page.locator('[data-sync="finished"]').waitFor();
  await page.getByText('1 of 2', { exact: false }).first().waitFor();
  await shot(page, 'policy-run');
  await ana.getByText('Nothing waits for you').or(ana.getByText('Approved', { exact: false })).first().waitFor();
  assert.deepEqual([...ana.faults, ...page.faults], []);
});

test('versions are compared, and an old one is restored', async () => {
  await ana.goto(`${station.origin}/settings/policy`);
  await ana.getByRole('button', { name: 'Remove two-for-posts' }).click();
  await ana.getByRole('button', { name: 'Store this policy' }).click();
  await ana.getByRole('link', { name: 'Versions' }).click();
  await ana.getByRole('heading', { name: 'From version 1 to version 2' }).waitFor();
  assert.match(await ana.locator('.diff .gone').innerText(), /^two-for-posts/);
  await shot(ana, 'policy-versions');
  await ana.getByRole('button', { name: 'Restore version 1' }).click();
  assert.match(await ana.locator('.diff .come').innerText(), /^two-for-posts/);
  await ana.getByRole('button', { name: 'Store this policy' }).click();
  await ana.getByText('Version 3, by Ana').waitFor();
  assert.deepEqual(ana.faults, []);
});
