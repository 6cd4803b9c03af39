// People: inviting somebody, who accepts in a browser of their own; another role; removal, which closes what they look at.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const bo = { name: 'Bo', email: 'bo@example.com', password: 'nine patient ferries' };
const waiter = 'export default async function run(input, station) { await station.clock.sleep(600_000); return 1; }';

let station, browser, page, theirs;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('waiter', waiter);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const role = (who) => who.getByLabel('Role of Bo', { exact: true });

test('somebody is invited and joins in a browser of their own', async () => {
  await page.goto(`${station.origin}/settings/members`);
  await page.getByRole('heading', { name: 'Members', level: 2 }).waitFor();
  await page.getByLabel('Invite somebody by email').fill(bo.email);
  await page.getByRole('combobox', { name: 'Role', exact: true }).selectOption('operator');
  await page.getByRole('button', { name: 'Invite' }).click();
  const link = await page.getByRole('status').locator('code').innerText();
  assert.ok(link.startsWith(`${station.origin}/invitation?token=`), link);
  await shot(page, 'members-invited');

  theirs = await open(browser);
  await theirs.goto(link);
  await theirs.getByRole('heading', { name: 'Join default' }).waitFor();
  await shot(theirs, 'invitation');
  assert.equal(await theirs.getByLabel('Email').inputValue(), bo.email);
  await theirs.getByLabel('Your name').fill(bo.name);
  await theirs.getByLabel('Password').fill(bo.password);
  await theirs.getByRole('button', { name: 'Join' }).click();
  await theirs.getByText('You are a member now.').waitFor();
  assert.deepEqual(theirs.faults, []);
  await theirs.goto(`${station.origin}/settings/members`);
  assert.equal(await theirs.getByLabel('Invite somebody by email').count(), 0);
  await shot(theirs, 'members-seen');
});

test('a link that was used leads nowhere', async () => {
  const other = await open(browser);
  await other.goto(`${station.origin}/invitation?token=used`);
  await other.getByText('This invitation was used or withdrawn').waitFor();
  await shot(other, 'invitation-dead');
});

test('another role is given with two clicks', async () => {
  await page.goto(`${station.origin}/settings/members`);
  assert.equal(await role(page).inputValue(), 'operator');
  await role(page).selectOption('builder');
  await page.getByRole('button', { name: 'Change the role of Bo' }).click();
  await page.getByText('The role is changed').waitFor();
  assert.equal(await role(page).inputValue(), 'builder');
  await shot(page, 'members');
  await page.getByRole('link', { name: 'Roles', exact: true }).click();
  await page.getByRole('row', { name: /Make and change agents/ }).waitFor();
  await shot(page, 'roles');
});

test('who is removed sees their open run page refused, and their run waits to be adopted', async () => {
  await theirs.goto(`${station.origin}/agents/waiter/run`);
  await theirs.getByRole('button', { name: 'Run' }).click();
  await theirs.locator('[data-run]').waitFor();
  const run = await theirs.locator('[data-run]').getAttribute('data-run');
  await station.when(run, (now) => now.state === 'waiting');
  await theirs.locator('[data-sync="synced"]').waitFor({ state: 'attached' });

  await page.goto(`${station.origin}/settings/members`);
  await page.getByRole('button', { name: 'Remove Bo' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByText('Removed. Their keys are revoked').waitFor();
  // The socket is closed for good, and the page says so.
  await theirs.locator('[data-sync="refused"]').waitFor({ state: 'attached' });
  await shot(page, 'members-left');
  await page.goto(`${station.origin}/runs/${run}`);
  await page.getByText('If you adopt it, it goes on as yours.').waitFor();
  await shot(page, 'run-left');
  await page.goto(`${station.origin}/settings/members`);
  await page.getByRole('button', { name: 'Adopt the runs of Bo' }).click();
  await page.getByText('The runs are yours now').waitFor();
  await station.when(run, (now) => now.state === 'waiting' && !now.holds?.length);
  assert.deepEqual(page.faults, []);
});

test('services and keys are made, rotated and revoked on one page', async () => {
  await page.goto(`${station.origin}/settings/keys`);
  await page.getByLabel('Name of the service').fill('Build server');
  await page.getByLabel('What it is for').fill('Starts the nightly runs');
  await page.getByRole('button', { name: 'Make a service' }).click();
  await page.getByText('The service is there').waitFor();
  await page.getByText('A new key of a service').click();
  await page.getByLabel('Name of a new key').fill('nightly');
  await page.getByRole('button', { name: 'Make a key' }).click();
  const key = await page.getByRole('status').locator('code').innerText();
  assert.match(key, /^as1_svc_[0-9A-Za-z]{61}$/);
  const ask = () => fetch(`${station.origin}/api/v1/runs`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await ask()).status, 200);
  await page.getByRole('button', { name: 'Rotate nightly' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
  await page.getByText('being replaced').waitFor();
  await shot(page, 'keys');
  assert.equal((await ask()).status, 200);
  await page.getByRole('listitem').filter({ hasText: 'being replaced' }).getByRole('button', { name: 'Revoke nightly' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The key is revoked.').waitFor();
  assert.equal((await ask()).status, 401);
  await page.goto(`${station.origin}/account/keys`);
  await page.getByRole('heading', { name: 'Your API keys' }).waitFor();
  await shot(page, 'account-keys');
  assert.deepEqual(page.faults, []);
});
