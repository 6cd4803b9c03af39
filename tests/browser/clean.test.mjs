// Every page, light, dark and on a phone: no error on the console, nothing that the policy had to stop, nothing that overflows.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, open, signIn } from './browser.mjs';
import { Station, talker, talkerMay } from './station.mjs';

let station, browser, state, paths;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('talker', talker, talkerMay);
  const run = await station.run('talker', { rounds: 3 });
  await station.when(run, (now) => now.state === 'succeeded');
  const page = await open(browser);
  await signIn(page, station.origin);
  state = await page.context().storageState();
  await page.context().close();
  paths = ['/', '/runs', '/agents', '/agents/talker', ...['runs', 'source', 'manifest', 'versions'].map((tab) => `/agents/talker?tab=${tab}`), '/agents/talker/run',
    '/agents/talker/versions/new', '/agents/new', '/agents/new?mode=upload',
    '/settings', '/settings/workspaces', '/settings/members', '/settings/roles', '/settings/keys', '/settings/models', '/settings/models/providers/new', '/settings/models/aliases/default', '/settings/policy', '/settings/policy/versions', '/settings/audit',
    '/station/orgs', '/station/mail', '/station/security', '/station/audit', '/account', '/account/sign-in', '/account/sessions', '/account/keys', '/account/data', '/docs/api', '/prove', '/switch',
    `/runs/${run}`, `/runs/${run}?at=200#e=5`];
});
after(async () => { await browser?.close(); await station?.stop(); });

const looks = {
  light: {}, dark: { colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};
for (const [name, options] of Object.entries(looks)) {
  test(`every page is clean: ${name}`, async () => {
    const page = await open(browser, { storageState: state, ...options });
    for (const path of paths) {
      await page.goto(station.origin + path, { waitUntil: 'load' });
      if (path.startsWith('/runs/')) await page.locator('[data-sync="finished"]').waitFor({ state: 'attached' });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${path} is ${wide} pixels too wide`);
    }
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

test('the pages before one is signed in are clean', async () => {
  const page = await open(browser);
  await page.goto(`${station.origin}/sign-in`);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
