// Talking with an agent: starting a chat, two people in it, streaming replies, a decision on the way, children, the end.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { shot } from './shots.mjs';
import { Station } from './station.mjs';

const host = `
export async function onMessage(message, station) {
  if (message === null) return;
  station.state.count = (station.state.count ?? 0) + 1;
  if (message.text === 'bye') return station.done({ messages: station.state.count });
  if (message.text === 'slowly') {
    const reply = await station.models.chat({ messages: ['slowly'], show: 'reply' });
    return reply.content;
  }
  if (message.text === 'order') {
    const decision = await station.approvals.request({ action: 'Order 4 lamps', arguments: { lamps: 4 }, reason: 'They were asked for' });
    return decision.approved ? 'Ordered.' : 'Not ordered: ' + decision.reason;
  }
  if (message.text === 'help') {
    const found = await station.agents.run('helper', {});
    return 'The helper says ' + found.says;
  }
  return '**' + station.state.count + '**: ' + message.text + '\\n\\n- one\\n- <img src=x onerror=alert(1)>';
}`;

let station, browser, page;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('helper', 'export default async function run(input, station) { await station.clock.sleep(400); return { says: "hello" }; }');
  await station.agent('host', host, '[capabilities]\nmodels = ["default"]\nagents = ["helper"]\n');
  page = await open(browser);
  await signIn(page, station.origin);
});
after(async () => { await browser?.close(); await station?.stop(); });

const say = async (text, who = page) => {
  await who.getByLabel('Message').fill(text);
  await who.keyboard.press('Enter');
};
const replies = (who = page) => who.locator('[data-lines] .replied .prose');

test('an empty list leads to a new chat', async () => {
  await page.goto(`${station.origin}/sessions`);
  await page.getByRole('heading', { name: 'No conversations yet' }).waitFor();
  await shot(page, 'sessions-empty');
  await page.getByRole('link', { name: 'New chat' }).click();
  await page.getByRole('link', { name: 'host' }).click();
  await page.getByLabel('First message').fill('Good evening');
  await shot(page, 'sessions-new');
  await page.getByRole('button', { name: 'Start the chat' }).click();
  await replies().filter({ hasText: 'Good evening' }).waitFor();
  assert.equal(await replies().locator('strong').innerText(), '1');
  assert.equal(await replies().locator('img').count(), 0);
});

test('Enter sends and Shift Enter begins a line; two people see the same', async () => {
  const other = await open(browser);
  await signIn(other, station.origin);
  await other.goto(page.url());
  await page.locator('[data-session-state]', { hasText: 'waits for a message' }).waitFor();
  await page.getByLabel('Message').fill('line one');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('line two');
  await page.keyboard.press('Enter');
  await replies().nth(1).waitFor();
  await replies(other).nth(1).waitFor();
  const told = (who) => who.locator('[data-lines] .line').evaluateAll((lines) => lines.map((line) => [line.dataset.line, line.querySelector('.text, .prose').textContent]));
  assert.deepEqual(await told(page), await told(other));
  assert.match((await told(page))[2][1], /^line one\nline two$/);
  assert.equal(await page.getByLabel('Message').inputValue(), '');
  assert.deepEqual(other.faults, []);
  await other.context().close();
});

test('a reply is seen while it is written, once', async () => {
  await say('slowly');
  const writing = page.locator('.line.streaming .text');
  await writing.waitFor();
  const first = await writing.textContent();
  await shot(page, 'sessions-streaming');
  await replies().filter({ hasText: 'somebody has to be awake' }).waitFor();
  await page.locator('[data-streams] li').waitFor({ state: 'detached' });
  assert.equal(await page.locator('.talk').getByText('somebody has to be awake').count(), 1);
  assert.ok('One lamp after the other'.startsWith(first.slice(0, 10)), first);
});

test('a decision is asked for and made in the conversation', async () => {
  await say('order');
  const card = page.locator('[data-approvals] [data-approval]');
  await card.getByRole('heading', { name: 'Order 4 lamps' }).waitFor();
  await page.locator('[data-session-state]', { hasText: 'waits for a decision' }).waitFor();
  await shot(page, 'sessions-approval');
  await card.getByRole('button', { name: 'Approve' }).first().click();
  await replies().filter({ hasText: 'Ordered.' }).waitFor();
});

test('a child that it starts is a line with a link', async () => {
  await say('help');
  const line = page.locator('.line.child');
  await line.filter({ hasText: 'Succeeded' }).waitFor();
  await replies().filter({ hasText: 'The helper says hello' }).waitFor();
  assert.match(await line.getByRole('link').getAttribute('href'), /^\/runs\/run_/);
  await shot(page, 'sessions-child');
});

test('the whole run has the messages on its timeline, and a lane for the child', async () => {
  await page.getByRole('link', { name: 'The whole run' }).click();
  await page.locator('[data-sync="synced"]').waitFor();
  await page.getByLabel('Find in the entries').fill('helper');
  await page.locator('.log-row:not([hidden])', { hasText: /started\s*helper/ }).click();
  await page.getByRole('link', { name: 'Open the run of helper' }).waitFor();
  await shot(page, 'run-session');
  await page.getByRole('link', { name: 'Chat' }).click();
  await page.getByLabel('Message').waitFor();
});

test('the composer goes with words when the run has ended', async () => {
  await say('bye');
  await page.getByText('This conversation has ended').waitFor();
  assert.equal(await page.getByLabel('Message').count(), 0);
  await shot(page, 'sessions-over');
  await page.goto(`${station.origin}/sessions`);
  await page.getByRole('link', { name: 'host' }).waitFor();
  await shot(page, 'sessions-list');
  assert.deepEqual(page.faults, []);
});

test('without JavaScript a form posts and the page is loaded again', async () => {
  const plain = await open(browser, { javaScriptEnabled: false });
  await signIn(plain, station.origin);
  await plain.goto(`${station.origin}/sessions/new?agent=host`);
  await plain.getByLabel('First message').fill('Hello');
  await plain.getByRole('button', { name: 'Start the chat' }).click();
  const run = plain.url().split('/').at(-1);
  await station.when(run, (now) => now.state === 'waiting');
  await plain.getByLabel('Message').fill('Again');
  await plain.getByRole('button', { name: 'Send' }).click();
  await station.when(run, (now) => now.state === 'waiting' && now.entries > 10);
  await plain.goto(`${station.origin}/sessions/${run}`);
  assert.equal(await replies(plain).count(), 2);
  assert.deepEqual(plain.faults, []);
  await plain.context().close();
});
