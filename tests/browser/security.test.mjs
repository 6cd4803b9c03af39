// The API's reference and the page on the station's security, and that the policy holds where something tries to break it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const shown = () => page.locator('[data-operation]:visible').count();

test('the reference is found in the rail and searched by words', async () => {
  await page.getByRole('link', { name: 'API reference' }).click();
  await page.getByRole('heading', { name: 'API reference' }).waitFor();
  // The heading is there before the last of a long page.
  await page.waitForLoadState('load');
  const all = await shown();
  assert.ok(all > 30, `${all} operations`);
  await shot(page, 'api-reference');
  const search = page.getByRole('searchbox', { name: 'Find an operation' });
  await search.fill('post messages');
  await page.waitForFunction(() => document.querySelectorAll('[data-operation]:not([hidden])').length === 1);
  assert.match(await page.locator('[data-operation]:visible').innerText(), /\/api\/v1\/runs\/\{run\}\/messages/);
  await search.fill('no such thing');
  await page.getByText('Nothing matches').waitFor();
  await search.fill('');
  assert.equal(await shown(), all);
});

test('a shape opens where a link leads to it, and the command can be copied', async () => {
  await page.goto(`${station.origin}/docs/api#startRun`);
  const start = page.locator('#startRun');
  assert.match(await start.innerText(), /Needs runs:start/);
  await start.getByText('application/json').first().click();
  await start.getByText('With curl').click();
  assert.match(await start.locator('.code').innerText(), /curl .*Authorization: Bearer \$KEY/s);
  await shot(page, 'api-operation');
  await page.evaluate(() => { location.hash = '#shape-RunBody'; });
  await page.locator('#shape-RunBody[open]').waitFor();
});

test('without JavaScript the reference has everything but the search', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false, storageState: await page.context().storageState(), viewport: { width: 390, height: 844 } });
  const plain = await context.newPage();
  await plain.goto(`${station.origin}/docs/api`);
  assert.ok(await plain.locator('[data-operation]:visible').count() > 30);
  assert.equal(await plain.locator('[data-search]').isVisible(), false);
  await context.close();
});

test('the page on security says what is wrong and what to do', async () => {
  await page.goto(`${station.origin}/station/security`);
  await page.getByRole('heading', { name: 'As it should be' }).waitFor();
  // The tests' station lets agents reach this machine, and its owner has a password alone.
  const wrong = page.locator('[data-verdict="warning"]');
  await wrong.filter({ hasText: 'private ranges' }).filter({ hasText: 'Keep outbound.open_cidrs' }).waitFor();
  await wrong.filter({ hasText: 'second factor' }).waitFor();
  await shot(page, 'security');
});

test('nothing foreign runs, whatever gets into a page', async () => {
  const other = await open(browser, { storageState: await page.context().storageState() });
  await other.goto(`${station.origin}/runs`);
  const stopped = await other.evaluate(() => new Promise((resolve) => {
    const broken = new Set();
    addEventListener('securitypolicyviolation', (event) => { broken.add(event.effectiveDirective); });
    const script = document.createElement('script');
    try { script.text = 'window.ran = true'; } catch { broken.add('trusted types'); }
    document.body.append(script);
    const image = document.createElement('img');
    image.src = 'https://evil.example/x.png';
    document.body.append(image);
    try { document.body.innerHTML = '<b>x</b>'; } catch { broken.add('markup'); }
    setTimeout(() => resolve({ ran: window.ran ?? false, broken: [...broken] }), 200);
  }));
  assert.equal(stopped.ran, false);
  for (const what of ['trusted types', 'markup', 'img-src']) assert.ok(stopped.broken.includes(what), `${what} in ${stopped.broken}`);
  await other.context().close();
});

test('nothing went wrong on the way', () => { assert.deepEqual(page.faults, []); });
