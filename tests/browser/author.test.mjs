// Somebody writes an agent in the browser, runs it, watches it and plays it back.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { finished, launch, open, signIn, write } from './browser.mjs';
import { Station } from './station.mjs';

const manifest = `name = "greeter"
version = "0.1.0"
summary = "Says something slowly"
runtime = "javascript"
entry = "agent.js"
category = "test"
input = "input.schema.json"

[capabilities]
models = ["default"]
`;
const schema = JSON.stringify({
  type: 'object', required: ['who'], additionalProperties: false,
  properties: { who: { type: 'string', title: 'Who', minLength: 2 }, times: { type: 'integer', title: 'Times', default: 1, minimum: 1, maximum: 9 } },
});
const code = `export default async function run(input, station) {
  console.log('greeting ' + input.who);
  const reply = await station.step('Ask', () => station.models.chat('slowly greet ' + input.who));
  await station.artifacts.put('greeting.md', '# ' + input.who, 'text/markdown');
  return { reply: reply.content };
}
`;

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

test('a syntax error is shown at its line, and what is right is stored', async () => {
  await page.goto(`${station.origin}/agents/new`);
  await write(page, 'agent.js', code.replace("'greeting ' +", "'greeting ' + +* "));
  const finding = page.locator('.findings li').first();
  await finding.waitFor();
  assert.match(await finding.innerText(), /agent\.js:2:\d+/);
  await page.locator('.cm-lintRange-error, .cm-lint-marker-error').first().waitFor();

  await page.getByRole('button', { name: 'Save the agent' }).click();
  await page.getByText('Nothing was stored').waitFor();
  assert.equal((await station.api('/agents')).items.length, 0);

  await write(page, 'agent.js', code);
  await write(page, 'agent.toml', manifest);
  await page.getByRole('tab', { name: 'input.schema.json' }).click();
  await write(page, 'input.schema.json', schema);
  await page.getByText('Nothing wrong found').waitFor();
  page.faults.length = 0;
  await page.getByRole('button', { name: 'Save the agent' }).click();
  await page.getByRole('heading', { name: 'greeter' }).waitFor();
  assert.deepEqual(page.faults, []);
});

test('the form refuses what the schema does not allow', async () => {
  await page.goto(`${station.origin}/agents/greeter/run`);
  await page.getByLabel('Who').fill('A');
  await page.getByRole('button', { name: 'Start the run' }).click();
  await page.waitForFunction(() => [...document.querySelectorAll('.error, :invalid')].some((node) => node.matches('input:invalid') || node.textContent.trim() !== ''));
  assert.equal((await station.api('/runs')).items.length, 0);
});

test('the run is watched live, inspected and played back, and its address holds the moment', async () => {
  await page.goto(`${station.origin}/agents/greeter/run`);
  await page.getByLabel('Who').fill('Mira');
  await page.getByRole('button', { name: 'Start the run' }).click();

  await page.locator('[data-sync="synced"]').waitFor();
  const call = page.locator('.log-row', { hasText: 'default' });
  await call.waitFor();
  await call.click();
  // The answer grows while one looks at it.
  const text = page.locator('.turn.streaming .turn-text');
  await page.waitForFunction(() => /One lamp/.test(document.querySelector('.turn.streaming .turn-text')?.textContent ?? ''));
  const early = (await text.innerText()).length;
  await page.waitForFunction((length) => (document.querySelector('.turn.answer .turn-text')?.textContent.length ?? 0) > length, early);
  await finished(page);
  assert.match(await page.locator('[data-state-chip]').innerText(), /Succeeded/);
  assert.match(await page.locator('.turn.user .turn-text').innerText(), /slowly greet Mira/);
  assert.match(await page.locator('.turn.answer .turn-text').innerText(), /^One lamp.*awake\.$/);
  await page.getByRole('tab', { name: 'Raw' }).click();
  await page.locator('.in-body pre[aria-label="Request"]', { hasText: 'greet Mira' }).waitFor();
  await page.locator('.in-body pre[aria-label="Response"]', { hasText: 'One lamp' }).waitFor();

  await page.locator('.log-row', { hasText: 'greeting.md' }).click();
  await page.getByRole('tab', { name: 'Artifact' }).click();
  await page.locator('.in-body pre', { hasText: '# Mira' }).waitFor();

  // Half-way back by the scrubber: what came later is dimmed.
  const axis = await page.locator('.tl-axis').boundingBox();
  await page.mouse.click(axis.x + axis.width * 0.5, axis.y + axis.height / 2);
  await page.waitForURL(/[?&]at=\d+/);
  await page.locator('.log-row.later').first().waitFor();
  const clock = await page.locator('.tp-clock').innerText();
  const selected = await page.locator('.log-row[aria-selected="true"]').getAttribute('data-seq');

  await page.reload();
  await page.locator('.log-row[aria-selected="true"]').waitFor();
  assert.equal(await page.locator('.tp-clock').innerText(), clock);
  assert.equal(await page.locator('.log-row[aria-selected="true"]').getAttribute('data-seq'), selected);

  // Playing goes on from there to the end.
  await page.keyboard.press('Space');
  await page.waitForFunction((before) => document.querySelector('.tp-clock').textContent !== before, clock);
  await page.keyboard.press('End');
  await page.waitForURL((url) => !url.searchParams.has('at'));
  await page.waitForFunction(() => document.querySelector('.log-row.later:not([hidden])') === null);
  assert.deepEqual(page.faults.filter((fault) => !/422/.test(fault)), []);
});
