// What happens to a page that watches while connections and processes die.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { finished, launch, lines, open, signIn } from './browser.mjs';
import { Station, talker, talkerMay } from './station.mjs';

const TALL = { viewport: { width: 1200, height: 3000 } };

/** A way to the station that can be cut. */
class Line {
  #sockets = new Set();
  isCut = false;

  static async to(port) {
    const line = new Line();
    line.server = createServer((near) => {
      if (line.isCut) { near.destroy(); return; }
      const far = connect(port, '127.0.0.1');
      for (const [socket, other] of [[near, far], [far, near]]) {
        line.#sockets.add(socket);
        socket.on('error', () => other.destroy());
        socket.on('close', () => { line.#sockets.delete(socket); other.destroy(); });
      }
      near.pipe(far).pipe(near);
    });
    await new Promise((resolve) => { line.server.listen(0, '127.0.0.1', resolve); });
    line.origin = `http://127.0.0.1:${line.server.address().port}`;
    return line;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() { this.isCut = false; }

  close() { this.cut(); this.server.close(); }
}

let station, browser;
before(async () => {
  [station, browser] = await Promise.all([Station.start(), launch()]);
  await station.agent('talker', talker, talkerMay);
});
after(async () => { await browser?.close(); await station?.stop(); });

/** The journal's entries that begin a line, in order. */
const begun = (events) => events.filter((event) => event.phase !== 'end').map((event) => event.seq);

test('a connection cut in mid-run loses nothing and doubles nothing', async () => {
  const line = await Line.to(station.port);
  const page = await open(browser, TALL);
  try {
    await signIn(page, line.origin);
    const seen = [];
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === 'event') seen.push(message.seq);
    }));
    const run = await station.run('talker', { rounds: 12, slowly: true });
    await page.goto(`${line.origin}/runs/${run}`);
    for (const least of [12, 30]) {
      await page.waitForFunction((n) => document.querySelectorAll('.log-row:not([hidden])').length >= n, least);
      line.cut();
      await page.locator('[data-sync="reconnecting"]').waitFor();
      const { entries } = await station.api(`/runs/${run}`);
      await station.when(run, (now) => now.entries >= entries + 5);
      line.mend();
      await page.locator('[data-sync="synced"]').waitFor();
    }
    // Once more while an answer is being said, whose beginning one has seen. A slow machine may see it whole: that holds too.
    const answer = page.locator('.log-row', { hasText: 'One lamp' });
    await answer.waitFor();
    await answer.click();
    line.cut();
    await page.locator('[data-sync="reconnecting"], [data-sync="finished"]').waitFor();
    line.mend();
    await page.locator('[data-sync="synced"], [data-sync="finished"]').waitFor();
    const whole = await page.waitForFunction(() =>
      document.querySelector('.turn.streaming .turn-text, .turn.answer .turn-text')?.textContent || null);
    assert.match(await whole.jsonValue(), /^One lamp(?!.*One lamp)/);

    await finished(page);
    const events = await station.events(run);
    assert.deepEqual(seen, events.map((event) => event.seq), 'each entry came once, in order');
    assert.deepEqual(await lines(page), begun(events), 'and stands there once');
    assert.equal(events.at(-1).kind, 'run.finished');
    assert.match(await page.locator('.turn.answer .turn-text').innerText(), /^One lamp(?!.*One lamp).*awake\.$/);
  } finally {
    line.close();
    await page.context().close();
  }
});

test('a run whose station is killed goes on when it is started again, and the page with it', async () => {
  const page = await open(browser, TALL);
  await signIn(page, station.origin);
  const run = await station.run('talker', { rounds: 6, slowly: true });
  await page.goto(`${station.origin}/runs/${run}`);
  await page.locator('.log-row', { hasText: 'One lamp' }).waitFor();
  const before = await lines(page);
  await station.kill();
  await page.locator('[data-sync="reconnecting"]').waitFor();
  await station.restart();
  await finished(page);
  assert.match(await page.locator('[data-state-chip]').innerText(), /Succeeded/);
  await page.locator('.log-row', { hasText: 'went on after an interruption' }).waitFor();
  const after = await lines(page);
  assert.deepEqual(after.slice(0, before.length), before, 'what was there stays');
  assert.deepEqual(after, begun(await station.events(run)));

  await page.reload();
  await finished(page);
  assert.deepEqual(await lines(page), after, 'a page that comes later shows the same');
  const { output } = await station.api(`/runs/${run}`);
  assert.equal(output.answers.length, 7);
  await page.context().close();
});
