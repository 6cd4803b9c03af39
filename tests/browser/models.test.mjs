// Models: a scripted provider is added, the default alias set, and an agent asks it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const asker = `
export default async function run(input, station) {
  const reply = await station.models.chat({ model: 'default', messages: [{ role: 'user', content: 'Who is there?' }] });
  return { said: reply.content };
}`;

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('asker', asker, '[capabilities]\nmodels = ["default"]\n');
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

test('a scripted provider is added and answers its test', async () => {
  await page.goto(`${station.origin}/settings/models`);
  await page.getByText('No provider yet').waitFor();
  await shot(page, 'models-none');
  await page.getByRole('link', { name: 'Add a provider' }).click();
  await page.getByRole('link', { name: 'Scripted answers' }).click();
  await page.getByLabel('Name').fill('script');
  await page.getByLabel('Rules').fill('[[rule]]\nuser = "Who"\nreply = "Only the lamp."\n');
  await shot(page, 'models-provider-new');
  await page.getByRole('button', { name: 'Add the provider' }).click();
  await page.getByText('The provider is there.').waitFor();
  await page.getByRole('button', { name: 'Test connection' }).click();
  await page.getByText('It answers.').waitFor();
  await shot(page, 'models-provider');
  assert.deepEqual(page.faults, []);
});

test('an alias is a chain that is put in order, and the agent that asks it gets its answer', async () => {
  await page.goto(`${station.origin}/settings/models`);
  await page.getByRole('link', { name: 'default', exact: true }).click();
  await page.getByLabel('Model', { exact: true }).fill('scripted');
  await page.getByRole('button', { name: 'Add a model to fall back to' }).click();
  await page.getByRole('button', { name: 'Take model 2 out' }).waitFor();
  await shot(page, 'models-alias');
  await page.getByRole('button', { name: 'Take model 2 out' }).click();
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('It holds from the next call.').waitFor();
  await shot(page, 'models');
  await page.goto(`${station.origin}/agents`);
  await page.getByRole('link', { name: 'asker' }).first().click();
  await page.getByRole('link', { name: 'Run it' }).click();
  await page.getByRole('button', { name: 'Start the run' }).click();
  await page.getByText('Only the lamp.').first().waitFor();
  assert.deepEqual(page.faults, []);
});
