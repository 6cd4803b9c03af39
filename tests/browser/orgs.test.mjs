// Organizations and workspaces: making them, and going from one to the other.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('adder', 'export default (input) => input.a + input.b;');
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const agents = async () => { await page.goto(`${station.origin}/agents`); return page.locator('.item .title').allInnerTexts(); };
const place = () => page.locator('.rail .place');

test('with one organization and one workspace no page names either, but for the settings', async () => {
  assert.equal(await place().count(), 0);
  await page.goto(`${station.origin}/settings`);
  await page.getByRole('heading', { name: 'Plan' }).waitFor();
  await page.getByRole('meter', { name: 'Workspaces' }).waitFor();
  await shot(page, 'settings-organization');
  assert.equal(await place().count(), 0);
});

test('a workspace is made, worked in, renamed and deleted', async () => {
  await page.goto(`${station.origin}/settings/workspaces`);
  await page.getByLabel('Name', { exact: true }).fill('Research');
  await page.getByLabel('Short name').fill('research');
  await page.getByRole('button', { name: 'Make a workspace' }).click();
  await page.getByText('The workspace is there.').waitFor();
  await shot(page, 'settings-workspaces');
  assert.deepEqual(await agents(), ['adder']);
  await place().click();
  await page.getByRole('button', { name: /^Work in Research/ }).click();
  await page.getByText('You are at work here now.').waitFor();
  assert.match(await place().innerText(), /Research/);
  assert.deepEqual(await agents(), []);

  await page.goto(`${station.origin}/settings/workspaces`);
  await page.getByRole('link', { name: 'Change Research' }).click();
  await page.locator('#edit-name').fill('Laboratory');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  await page.getByRole('link', { name: 'Change Laboratory' }).click();
  await shot(page, 'settings-workspaces-edit');
  await page.locator('#confirm').fill('research');
  await page.getByRole('button', { name: 'Delete the workspace' }).click();
  await page.getByText('The workspace is gone').waitFor();
  assert.equal(await place().count(), 0);
  assert.deepEqual(await agents(), ['adder']);
});

test('an organization is made, worked in and deleted, and brought back', async () => {
  await page.goto(`${station.origin}/station/orgs`);
  await page.getByLabel('Name', { exact: true }).fill('Acme');
  await page.getByLabel('Short name').fill('acme');
  await page.getByRole('button', { name: 'Make an organization' }).click();
  await page.getByText('The organization is there').waitFor();
  await shot(page, 'station-orgs');
  await place().click();
  await shot(page, 'switch');
  await page.getByRole('button', { name: 'Work in default of Acme' }).click();
  await page.getByText('You are at work here now.').waitFor();
  assert.deepEqual(await agents(), []);
  await page.goto(`${station.origin}/settings`);
  await page.locator('#confirm').fill('acme');
  await page.getByRole('button', { name: 'Delete the organization' }).click();
  await page.getByText('The organization is being deleted').waitFor();
  assert.deepEqual(await agents(), ['adder']);
  await page.goto(`${station.origin}/station/orgs`);
  await page.getByRole('button', { name: 'Restore Acme' }).click();
  await page.getByText('The organization is back').waitFor();
  await place().waitFor();
  assert.deepEqual(page.faults, []);
});
