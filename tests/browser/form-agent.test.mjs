// Somebody makes an agent without code, runs it, changes it, and takes it over as code.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const newest = async () => (await station.api('/agents')).items[0];

test('an agent is made by filling in a form, and rows are added on the way', async () => {
  await page.goto(`${station.origin}/agents/new`);
  await page.getByRole('link', { name: 'Fill in a form' }).click();
  await page.getByLabel('Name', { exact: true }).fill('porter');
  await page.getByLabel('Summary').fill('Answers guests');
  await page.getByLabel('Instructions').fill('You answer guests.\nBe brief.');
  await page.getByLabel('Field', { exact: true }).fill('Question');
  await page.getByRole('button', { name: 'Another field' }).click();
  // The page came anew, with what was typed.
  assert.equal(await page.getByLabel('Instructions').inputValue(), 'You answer guests.\nBe brief.');
  await page.getByLabel('Field', { exact: true }).nth(1).fill('Room');
  await page.getByRole('checkbox', { name: /^Memory/ }).check();
  await page.getByRole('button', { name: 'Check' }).click();
  await page.getByText('Nothing wrong found').waitFor();
  await page.getByText('The code that is made of this').click();
  assert.match(await page.locator('details code').innerText(), /station\.models\.runTools/);
  assert.equal((await station.api('/agents')).items.length, 0, 'a check stores nothing');
  await page.getByRole('button', { name: 'Save and run' }).click();
  await page.getByRole('heading', { name: 'Run porter' }).waitFor();
  assert.deepEqual(page.faults, []);
});

test('it is run from its own fields', async () => {
  await page.getByLabel('Question').fill('Tell me about round 7');
  await page.getByLabel('Room').fill('12');
  await page.getByRole('button', { name: 'Start the run' }).click();
  await finished(page);
  assert.match(await page.locator('[data-state-chip]').innerText(), /Succeeded/);
  await page.locator('.log-row', { hasText: 'Turn 1' }).first().waitFor();
  const [run] = (await station.api('/runs')).items;
  const whole = await station.api(`/runs/${run.id}`);
  assert.match(whole.output.answer, /^This is answer 7/);
  assert.equal(whole.output.stopped, 'done');
});

test('changing it opens the form again and makes a new version', async () => {
  await page.goto(`${station.origin}/agents/porter`);
  await page.getByRole('link', { name: 'New version' }).click();
  await page.getByRole('heading', { name: 'New version of porter' }).waitFor();
  assert.equal(await page.getByLabel('Version', { exact: true }).inputValue(), '0.1.1');
  assert.equal(await page.getByLabel('Field', { exact: true }).nth(1).inputValue(), 'Room');
  assert.ok(await page.getByRole('checkbox', { name: /^Memory/ }).isChecked());
  await page.getByLabel('Turns').fill('1');
  await page.evaluate(() => { document.querySelector('form.af').noValidate = true; });
  page.faults.length = 0;
  await page.getByRole('button', { name: 'Save the version' }).click();
  await page.getByRole('link', { name: 'Turns must be between 2 and 200.' }).waitFor();
  await page.locator('#turns-error', { hasText: 'Turns must be between' }).waitFor();
  page.faults.length = 0;
  await page.getByLabel('Turns').fill('6');
  await page.getByRole('button', { name: 'Save the version' }).click();
  await page.getByRole('heading', { name: 'porter' }).waitFor();
  assert.equal((await newest()).latest_version, '0.1.1');
  assert.deepEqual(page.faults, []);
});

test('secrets are chosen by name, and it is said what lets the agent send them', async () => {
  await page.goto(`${station.origin}/settings/secrets`);
  for (const [name, host] of [['guest-list', 'guests.example.com'], ['door-code', '']]) {
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByRole('textbox', { name: 'Value' }).fill('a-value-of-some-length');
    await page.getByLabel('Host').fill(host);
    await page.getByRole('button', { name: 'Set the secret' }).click();
    await page.getByText('The secret is set.').waitFor();
    await page.goto(`${station.origin}/settings/secrets`);
  }
  await page.goto(`${station.origin}/agents/porter/versions/new`);
  const bound = page.locator('.af-offer', { hasText: 'guest-list' });
  await bound.getByText('Goes to guests.example.com.').waitFor();
  const unbound = page.locator('.af-offer', { hasText: 'door-code' });
  await unbound.getByText('No binding lets this agent send it yet.').waitFor();
  assert.match(await unbound.getByRole('link', { name: /^Bind it/ }).getAttribute('href'), /^\/settings\/secrets\/sec_.*#uses$/);
  await page.getByRole('checkbox', { name: /^guest-list/ }).check();
  await shot(page, 'form-secrets');
  await page.getByRole('button', { name: 'Save the version' }).click();
  await page.getByRole('heading', { name: 'porter' }).waitFor();
  const { items } = await station.api('/agents/porter/versions');
  assert.deepEqual(items[0].manifest.capabilities.secrets, ['guest-list']);
  await page.goto(`${station.origin}/agents/porter/versions/new`);
  assert.ok(await page.getByRole('checkbox', { name: /^guest-list/ }).isChecked());
  assert.equal(await page.getByLabel('Others, by name').inputValue(), '');
  assert.deepEqual(page.faults, []);
});

test('it is turned into code that goes on by hand', async () => {
  await page.goto(`${station.origin}/agents/porter/versions/new`);
  await page.getByRole('button', { name: 'Turn into code' }).click();
  await page.getByRole('textbox', { name: 'agent.js' }).waitFor();
  await page.getByRole('button', { name: 'Save the version' }).click();
  await page.getByRole('heading', { name: 'porter' }).waitFor();
  assert.equal((await newest()).latest_version, '0.1.3');
  await page.goto(`${station.origin}/agents/porter/versions/new`);
  await page.getByRole('textbox', { name: 'agent.js' }).waitFor();
});

test('the form fits a telephone', async () => {
  const narrow = await open(browser, { viewport: { width: 390, height: 844 } });
  await signIn(narrow, station.origin);
  await narrow.goto(`${station.origin}/agents/new?mode=form`);
  const width = await narrow.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide`);
});
