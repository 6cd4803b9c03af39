// Getting in and staying in: an authenticator app, passkeys of Chromium's virtual authenticator, and ending what is open elsewhere.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station, owner, talker, talkerMay } from './station.mjs';

let station, browser, page, here;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  // Browsers give passkeys to names, and this machine's own is one.
  here = `http://localhost:${station.port}`;
  page = await open(browser);
  await signIn(page, here);
});
after(async () => { await browser?.close(); await station?.stop(); });

/** The code of an app at a time, as RFC 6238 has it. */
function code(secret, at = Date.now()) {
  const bits = [...secret].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const mac = createHmac('sha1', key).update(step).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

async function password(page) {
  await page.goto(`${here}/sign-in?next=/agents`);
  await page.getByLabel('Email').fill(owner.email);
  await page.getByLabel('Password').fill(owner.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

let recovery;
test('an app is set up by its picture, and its code is asked for from then on', async () => {
  await page.goto(`${here}/account/sign-in`);
  await shot(page, 'account-sign-in-empty');
  await page.getByRole('button', { name: 'Set up an app' }).click();
  const picture = page.getByAltText('Picture with the secret');
  await picture.waitFor();
  assert.ok(await picture.evaluate((image) => image.complete && image.naturalWidth > 100), 'the picture is drawn');
  await shot(page, 'account-totp');
  await page.getByText('Type the secret instead').click();
  const secret = (await page.locator('.command code').textContent()).replaceAll(' ', '');
  // The code of the step before is good too, and leaves this one's for the sign-in.
  await page.getByRole('textbox', { name: 'Code' }).fill(code(secret, Date.now() - 30_000));
  await page.getByRole('button', { name: 'Use this app' }).click();
  await page.getByRole('heading', { name: 'Recovery codes', level: 2 }).waitFor();
  recovery = await page.locator('.codes li').allTextContents();
  assert.equal(recovery.length, 10);
  await shot(page, 'account-recovery-codes');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
  assert.equal(download.suggestedFilename(), 'agentstation-recovery-codes.txt');
  await page.getByRole('link', { name: 'I have kept them' }).click();
  await page.getByText('10 recovery codes are left').waitFor();

  const other = await open(browser);
  await password(other);
  await other.getByRole('heading', { name: 'Second step' }).waitFor();
  await shot(other, 'sign-in-code');
  await other.getByRole('textbox', { name: 'Code' }).fill(code(secret));
  await other.getByRole('button', { name: 'Sign in' }).click();
  await other.waitForURL('**/agents');
  assert.deepEqual(other.faults, []);
  await other.context().close();
});

test('a recovery code does when the app is not at hand', async () => {
  const other = await open(browser);
  await password(other);
  await other.getByRole('link', { name: 'Use a recovery code' }).click();
  await other.getByLabel('Recovery code').fill(recovery[0]);
  await other.getByRole('button', { name: 'Sign in' }).click();
  await other.waitForURL('**/agents');
  assert.deepEqual(other.faults, []);
  await other.context().close();
});

/** A device that makes passkeys and finds its user in front of it. */
async function device(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('WebAuthn.enable');
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  return { credentials: async () => (await session.send('WebAuthn.getCredentials', { authenticatorId })).credentials };
}

test('a passkey is made, signs in without password and code, and proves who one is', async () => {
  const own = await device(page);
  await page.goto(`${here}/account/sign-in`);
  await page.getByLabel('Name of a new passkey').fill('Laptop');
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByText('The passkey is registered').waitFor();
  const [made] = await own.credentials();
  assert.ok(made.isResidentCredential && made.rpId === 'localhost');
  await shot(page, 'account-sign-in');

  await page.getByRole('button', { name: 'Sign out' }).first().click();
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  const [used] = await own.credentials();
  assert.ok(used.signCount > made.signCount);

  await page.goto(`${here}/prove?next=/account/sign-in`);
  await shot(page, 'prove');
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await page.getByText('Confirmed. Do it again.').waitFor();

  await page.getByRole('button', { name: 'Remove', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByText('The passkey is removed').waitFor();
  await page.getByRole('button', { name: 'Sign out' }).first().click();
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await page.getByRole('alert').filter({ hasText: 'lets nobody in' }).waitFor();
  // The refusal is an answer with a status of its own.
  assert.deepEqual(page.faults.filter((fault) => !fault.includes('401')), []);
  page.faults.length = 0;
});

test('where browsers make no passkeys the pages say where they do', async () => {
  const other = await open(browser);
  await other.goto(`${station.origin}/sign-in`);
  await other.getByRole('link', { name: here }).waitFor();
  await shot(other, 'sign-in-elsewhere');
  await other.goto(`${here}/forgot`);
  await other.getByText('This station sends no mail').waitFor();
  await shot(other, 'forgot');
  assert.deepEqual(other.faults, []);
  await other.context().close();
});

test('a session that is ended elsewhere has its socket closed at once', async () => {
  await station.agent('talker', talker, talkerMay);
  const enter = async () => {
    const one = await open(browser);
    await password(one);
    await one.getByRole('link', { name: 'Use a recovery code' }).click();
    await one.getByLabel('Recovery code').fill(recovery.pop());
    await one.getByRole('button', { name: 'Sign in' }).click();
    await one.waitForURL('**/agents');
    return one;
  };
  const [mine, stolen] = [await enter(), await enter()];
  const run = await station.run('talker', { rounds: 1, slowly: true });
  const opened = stolen.waitForEvent('websocket');
  await stolen.goto(`${here}/runs/${run}`);
  const socket = await opened;
  await mine.goto(`${here}/account/sessions`);
  await shot(mine, 'account-sessions');
  const closed = new Promise((resolve) => { socket.once('close', resolve); });
  await mine.getByRole('listitem').filter({ hasNotText: 'this one' }).first().getByRole('button').click();
  await mine.getByText('The session is signed out').waitFor();
  await closed;
  await stolen.goto(`${here}/`);
  await stolen.getByRole('heading', { name: 'Sign in' }).waitFor();
  await mine.goto(`${here}/account/sessions`);
  await mine.getByRole('button', { name: 'Sign out all others' }).click({ timeout: 1_000 }).catch(() => {});
  assert.deepEqual(mine.faults, []);
  await mine.goto(`${here}/account`);
  await shot(mine, 'account-profile');
  await mine.goto(`${here}/station/mail`);
  await shot(mine, 'station-mail-none');
  await Promise.all([mine.context().close(), stolen.context().close()]);
});
