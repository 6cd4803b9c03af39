// Pictures to look at, where SHOTS names a folder: light, dark, and on a phone.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

const folder = process.env.SHOTS;

export async function shot(page, name) {
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  const size = page.viewportSize();
  for (const [suffix, width, colorScheme] of [['light', 1440, 'light'], ['dark', 1440, 'dark'], ['390', 390, 'light']]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(250);
    await page.screenshot({ path: join(folder, `${name}-${suffix}.png`) });
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(size);
}
