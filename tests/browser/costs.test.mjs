// Money: the page of costs, a budget, prices, and alerts that go to a program.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { owner, Station, talker, talkerMay } from './station.mjs';

const people = ['viewer', 'builder', 'admin'].map((role) => ({ name: `The ${role}`, email: `${role}@example.com`, role }));

let station, browser, page, hooks;
const posted = [];
before(async () => {
  hooks = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => { posted.push({ headers: request.headers, body: JSON.parse(body) }); response.end(); });
  }).listen(0, '127.0.0.1');
  await once(hooks, 'listening');
  [station, browser] = await Promise.all([Station.start({ people }), launch()]);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); hooks?.close(); });

test('before anything is spent the page says what it is for', async () => {
  await page.goto(`${station.origin}/costs`);
  await page.getByRole('heading', { name: 'Nothing spent yet' }).waitFor();
  await shot(page, 'costs-empty');
});

test('a budget is made, raised and stands with its limit', async () => {
  await page.goto(`${station.origin}/settings/budgets`);
  const form = page.locator('form[action="/settings/budgets"]');
  await form.getByLabel('Name').fill('everything');
  await form.getByLabel('Limit in dollars').fill('10');
  await form.getByLabel('Each').selectOption('day');
  await form.getByLabel('By the clock of').fill('Europe/Berlin');
  await form.getByRole('button', { name: 'Make the budget' }).click();
  await page.getByText('The budget is there.').waitFor();
  await page.getByText('The whole organization · $10.00 a day').waitFor();
  await page.getByText('Raise for a time').click();
  await page.getByLabel('By how many dollars').fill('5');
  await page.getByRole('button', { name: 'Raise', exact: true }).click();
  await page.getByText('The raise holds from now on.').waitFor();
  await page.getByText('$15.00 left').or(page.getByText('raised by $5.00')).first().waitFor();
  await shot(page, 'budgets');
});

test('a price is set over the one that ships', async () => {
  await page.goto(`${station.origin}/settings/prices?q=gpt-4o-mini`);
  await page.getByRole('link', { name: /^Set another price for/ }).first().click();
  await page.getByLabel('Output', { exact: true }).first().fill('0.75');
  await page.getByRole('button', { name: 'Set the price' }).click();
  await page.getByText('The price holds from its day on.').waitFor();
  await page.goto(`${station.origin}/settings/prices?q=gpt-4o-mini`);
  await page.getByText('yours').first().waitFor();
  await shot(page, 'prices');
});

test('alerts go to a program, and a test arrives there', async () => {
  await page.goto(`${station.origin}/settings/alerts`);
  await page.locator('#channel-name').fill('pager');
  await page.getByLabel('Kind').selectOption('webhook');
  await page.locator('#channel-address').fill(`http://127.0.0.1:${hooks.address().port}/hook`);
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByText('Keep its signing key').waitFor();
  await shot(page, 'alerts-key');
  await page.getByRole('button', { name: 'Send a test to pager' }).click();
  await page.getByText('The test was taken.').waitFor();
  assert.equal(posted.length, 1);
  assert.equal(posted[0].body.type, 'notification.test');
  assert.match(posted[0].headers['webhook-signature'], /^v1,/);
  await shot(page, 'alerts');
  await page.goto(`${station.origin}/notifications`);
  await page.getByRole('heading', { name: 'Nothing to tell' }).waitFor();
  assert.deepEqual(page.faults, []);
});

/** What scripted answers cost, for a million tokens of either kind. */
async function price(dollars) {
  await page.goto(`${station.origin}/settings/prices`);
  await page.locator('#price-provider').fill('scripted');
  await page.locator('#price-model').fill('*');
  await page.locator('#price-input').fill(dollars);
  await page.locator('#price-output').fill(dollars);
  await page.getByRole('button', { name: 'Set the price' }).click();
  await page.getByText('The price holds from its day on.').waitFor();
}

async function held() {
  const run = await station.run('talker', { rounds: 1 });
  await station.when(run, ({ state, entries }) => state !== 'succeeded' && entries >= 4);
  await page.goto(`${station.origin}/runs/${run}`);
  await page.locator('[data-held]').getByText('It waits for money').waitFor();
  await page.goto(`${station.origin}/runs`);
  return run;
}
const banner = () => page.getByRole('region', { name: 'Budget tight' });

test('a run that waits for money goes on when the banner’s budget is raised', async () => {
  await station.agent('talker', talker, talkerMay);
  await price('1000');
  await page.goto(`${station.origin}/settings/budgets`);
  const form = page.locator('form[action="/settings/budgets"]');
  await form.getByLabel('Name').fill('tight');
  await form.getByLabel('What it covers').selectOption({ label: 'talker' });
  await form.getByLabel('Limit in dollars').fill('ten');
  await form.getByRole('button', { name: 'Make the budget' }).click();
  await form.getByText(/is no amount/).waitFor();
  assert.equal(await form.getByLabel('Name').inputValue(), 'tight');
  assert.equal(await form.getByLabel('Limit in dollars').getAttribute('aria-invalid'), 'true');
  await form.getByLabel('Limit in dollars').fill('0.0001');
  await form.getByRole('button', { name: 'Make the budget' }).click();
  await page.getByText('The budget is there.').waitFor();
  page.faults.length = 0;
  const run = await held();
  await banner().getByText('1 run waits for money.').waitFor();
  await shot(page, 'budget-banner');
  await banner().getByRole('link', { name: 'Raise' }).click();
  const amount = page.getByLabel('By how many dollars').and(page.locator(':focus'));
  await amount.waitFor();
  await amount.fill('5000');
  await page.keyboard.press('Enter');
  await page.getByText('The raise holds from now on.').waitFor();
  await station.when(run, ({ state }) => state === 'succeeded');
  // Back to what it was, by an empty amount.
  const tight = page.locator('article', { has: page.getByRole('heading', { name: 'tight' }) });
  await tight.getByText('Raise for a time').click();
  await tight.getByRole('button', { name: 'Raise', exact: true }).click();
  await tight.getByText('raised by').waitFor({ state: 'detached' });
  assert.deepEqual(page.faults, []);
});

test('the banner’s other buttons have waiting runs ask again, or end', async () => {
  const first = await held();
  await price('0');
  await page.goto(`${station.origin}/runs`);
  await banner().getByRole('button', { name: 'Resume 1' }).click();
  await station.when(first, ({ state }) => state === 'succeeded');
  await price('1000');
  const second = await held();
  await banner().getByRole('button', { name: 'Cancel 1 queued' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel them' }).click();
  await station.when(second, ({ state }) => state === 'cancelled');
  await page.goto(`${station.origin}/runs`);
  await page.getByText('runs wait for money').or(page.getByText('run waits for money')).waitFor({ state: 'detached' });
  assert.deepEqual(page.faults, []);
});

test('who may see budgets and prices, and who may change them', async () => {
  const run = await held();
  for (const [role, changes] of [['viewer', false], ['builder', false], ['admin', true]]) {
    const other = await open(browser);
    await signIn(other, station.origin, { ...people.find((person) => person.role === role), password: owner.password });
    await other.goto(`${station.origin}/settings/budgets`);
    await other.getByRole('heading', { name: 'tight' }).waitFor();
    const forms = other.locator('main form');
    if (changes) await other.getByRole('heading', { name: 'Make a budget' }).waitFor();
    else assert.equal(await forms.count(), 0, `${role} gets no forms`);
    await other.goto(`${station.origin}/runs`);
    const seen = other.getByRole('region', { name: 'Budget tight' });
    await seen.getByText('1 run waits for money.').waitFor();
    assert.equal(await seen.getByRole('button').count(), changes ? 2 : 0, role);
    await seen.getByRole('link', { name: changes ? 'Raise' : 'See the budget' }).waitFor();
    assert.deepEqual(other.faults, []);
    const { status } = await other.request.post(`${station.origin}/settings/budgets`, { form: { name: 'sly' }, maxRedirects: 0 }).then((answer) => ({ status: answer.status() }));
    assert.ok(status >= 400, `${role} without a token: ${status}`);
    await other.goto(`${station.origin}/settings/prices`);
    await other.getByRole('heading', { name: 'What models cost' }).waitFor();
    assert.equal(await other.getByRole('heading', { name: 'Set a price' }).count(), changes ? 1 : 0, role);
    assert.equal(await other.locator('main form[method="post"]').count() > 0, changes, role);
    assert.equal(await other.getByRole('link', { name: /^Set another price/ }).count() > 0, changes, role);
    await other.context().close();
  }
  await station.api(`/runs/${run}/cancel`, { method: 'POST' });
});
