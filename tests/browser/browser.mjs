// Chromium from the system, and pages that remember what went wrong in them.

import { chromium } from 'playwright-core';
import { owner } from './station.mjs';

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** A page whose `faults` are errors on the console, exceptions, broken policies and answers that failed. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.faults = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.faults.push(`${page.url()}: ${message.text()}`); });
  page.on('pageerror', (error) => page.faults.push(`${page.url()}: ${error.stack}`));
  page.on('response', (response) => { if (response.status() >= 400) page.faults.push(`${response.status()} ${response.url()}`); });
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`policy ${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  return page;
}

export async function signIn(page, origin, person = owner) {
  await page.goto(`${origin}/sign-in`);
  await page.getByLabel('Email').fill(person.email);
  await page.getByLabel('Password').fill(owner.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
}

/** Waits until the run page has everything and the run is over. */
export const finished = (page) => page.locator('[data-sync="finished"]').waitFor({ timeout: 60_000 });

/** The `seq` of each line of the log; the window must be tall enough for all of them. */
export const lines = (page) => page.locator('.log-row:not([hidden])').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)).sort((a, b) => a - b));

/** Replaces all text in the editor with this label. */
export async function write(page, label, text) {
  await page.getByRole('textbox', { name: label }).click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(text);
}
