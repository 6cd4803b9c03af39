// Takes the README's pictures from the demo: a run page, played back to the middle of a model's answer.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { finished, launch, open } from './browser.mjs';
import { binary, until } from './station.mjs';

const AGENT = 'ticket-triage';
const folder = fileURLToPath(new URL('../../docs/images/', import.meta.url));

const demo = spawn(binary, ['demo', '--listen', '127.0.0.1:0']);
const browser = await launch();
try {
  const [, link] = await until(demo, /(http:\S+\/sign-in\/link\?token=\S+)/);
  const { origin } = new URL(link);
  const page = await open(browser, { reducedMotion: 'reduce' });
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.goto(`${origin}/runs?agent=${AGENT}`);
  await page.locator('[data-run] .title').first().click();
  await finished(page);
  await page.locator('.log-row', { hasText: 'out' }).last().click();
  const axis = await page.locator('.tl-axis').boundingBox();
  await page.mouse.click(axis.x + axis.width * 0.62, axis.y + axis.height / 2);
  await page.locator('.turn.answer').scrollIntoViewIfNeeded();
  await page.mouse.move(0, 0);
  await mkdir(folder, { recursive: true });
  for (const [colorScheme, name] of [['light', 'run-page.png'], ['dark', 'run-page-dark.png']]) {
    await page.emulateMedia({ colorScheme });
    // The timeline is a canvas: it is drawn again in the next frames.
    await page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(resolve))); }));
    await page.screenshot({ path: `${folder}${name}` });
  }
} finally {
  await browser.close();
  const ended = once(demo, 'exit');
  demo.kill('SIGTERM');
  await ended;
}
