// The first minutes of a new station.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open } from './browser.mjs';
import { Station, owner } from './station.mjs';

let station, browser;
before(async () => { [station, browser] = await Promise.all([Station.start({ isNew: true }), launch()]); });
after(async () => { await browser?.close(); await station?.stop(); });

test('the set-up link makes an owner, who signs out and in again', async () => {
  const page = await open(browser);
  await page.goto(station.setUpLink);
  await page.getByLabel('Your name').fill(owner.name);
  await page.getByLabel('Email').fill(owner.email);
  await page.getByLabel('Password').fill(owner.password);
  await page.getByRole('button', { name: 'Set up' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  assert.deepEqual(page.faults, []);

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.goto(`${station.origin}/runs`);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();

  page.faults.length = 0;
  await page.getByLabel('Email').fill(owner.email);
  await page.getByLabel('Password').fill('seven quiet lighthouse');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  assert.match(await page.getByRole('alert').innerText(), /password/i);
  assert.equal(await page.getByLabel('Email').inputValue(), owner.email);

  await page.getByLabel('Password').fill(owner.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  assert.equal(new URL(page.url()).pathname, '/runs', 'one comes where one wanted to go');
});

test('a set-up link works once', async () => {
  const page = await open(browser);
  await page.goto(station.setUpLink);
  assert.equal(await page.getByLabel('Your name').count(), 0);
});
