// Money: the page of costs, a budget, prices, and alerts that go to a program.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

let station, browser, page, hooks;
const posted = [];
before(async () => {
  hooks = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => { posted.push({ headers: request.headers, body: JSON.parse(body) }); response.end(); });
  }).listen(0, '127.0.0.1');
  await once(hooks, 'listening');
  [station, browser] = await Promise.all([Station.start(), launch()]);
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
