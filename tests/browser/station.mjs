// A station of its own for a test: the real executable on a free port, with a data directory that goes away.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const binary = process.env.STATION_BIN ?? fileURLToPath(new URL('../../target/debug/agentstation', import.meta.url));
// Compiling the JavaScript runtime takes seconds; the stations of all tests share what came of it.
// Agents may reach this machine, because their tests' servers are here.
const env = {
  ...process.env, AGENTSTATION_RUNTIME_CACHE: join(tmpdir(), 'agentstation-browser-tests'), AGENTSTATION_OUTBOUND_OPEN_CIDRS: '127.0.0.0/8', AGENTSTATION_OUTBOUND_ALLOW_HTTP: 'true',
  // A file signs in more often in a minute than people do.
  AGENTSTATION_RATES_SIGN_IN: '10000',
};
const START_WITHIN_MS = 30_000;

export const owner = { name: 'Ana', email: 'ana@example.com', password: 'seven quiet lighthouses' };

// What models answer, and how fast: `slow` takes some seconds, everything else is answered at once.
const rules = `
[[rule]]
user = 'slowly'
reply = "One lamp after the other goes on along the platform, and the last one takes its time, because somebody has to be awake."
tokens_per_second = 12

[[rule]]
user = 'round (?P<n>\\d+)'
reply = "This is answer \${n}, said at a pace at which one can follow it."
tokens_per_second = 60
`;

/** Lines of a child until one has what is looked for. */
export function until(child, pattern) {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error(`the station did not say ${pattern}:\n${text}`)), START_WITHIN_MS);
    const read = (chunk) => {
      text += chunk;
      const found = pattern.exec(text);
      if (!found) return;
      clearTimeout(timer);
      resolve(found);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => { clearTimeout(timer); reject(new Error(`the station ended with ${code}:\n${text}`)); });
  });
}

export class Station {
  #child = null;

  constructor(folder) { this.folder = folder; }

  /** With `isNew`, nobody owns it yet and `setUpLink` leads to where that changes. Else there is an owner, `people` of the same password, and an API key. */
  static async start({ isNew = false, people = [] } = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'agentstation-'));
    await writeFile(join(folder, 'rules.toml'), rules);
    await writeFile(join(folder, 'agentstation.toml'), '[models.default]\nprovider = "scripted"\nmodel = "scripted"\nrules = "rules.toml"\n');
    const station = new Station(folder);
    if (!isNew) {
      station.#command(['init', '--email', owner.email, '--name', owner.name, '--password-stdin'], `${owner.password}\n`);
      for (const { email, name, role } of people) station.#command(['user', 'create', '--email', email, '--name', name, '--role', role, '--password-stdin'], `${owner.password}\n`);
      station.key = station.#command(['key', 'create', '--user', owner.email]).match(/as1_pat_\S+/)[0];
    }
    await station.open('127.0.0.1:0', isNew ? /(\S+\/set-up\?token=\S+)/ : /serving (http:\S+?)"/);
    return station;
  }

  #command(args, input = '') {
    const done = spawnSync(binary, [...args, '--data', join(this.folder, 'data')], { cwd: this.folder, env, input, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`agentstation ${args.join(' ')}: ${done.error ?? done.stderr}`);
    return done.stdout;
  }

  async open(listen, pattern) {
    this.#child = spawn(binary, ['serve', '--data', join(this.folder, 'data'), '--listen', listen, '--log-format', 'json'], { cwd: this.folder, env });
    const [, link] = await until(this.#child, pattern);
    this.setUpLink = link;
    this.origin = new URL(link).origin;
    // Nobody reads on, and a full pipe would hold the station up.
    this.#child.stdout.resume();
    this.#child.stderr.resume();
  }

  get port() { return Number(new URL(this.origin).port); }

  async #end(signal) {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => { child.once('exit', resolve); });
    child.kill(signal);
    await ended;
  }

  /** As a power cut does. */
  kill() { return this.#end('SIGKILL'); }

  /** Again, at the same address. */
  restart() { return this.open(`127.0.0.1:${this.port}`, /serving (http:\S+?)"/); }

  async stop() {
    await this.#end('SIGTERM');
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The JSON that the API answers. */
  async api(path, { method = 'GET', body, json } = {}) {
    const answer = await fetch(`${this.origin}/api/v1${path}`, {
      method, headers: { authorization: `Bearer ${this.key}`, ...(json ? { 'content-type': 'application/json' } : {}) }, body: json ? JSON.stringify(json) : body,
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  /** Uploads an agent; `more` are further lines of its manifest. */
  async agent(name, code, more = '') {
    const form = new FormData();
    form.set('manifest', `name = "${name}"\nversion = "1.0.0"\nsummary = "Made by a test"\nruntime = "javascript"\nentry = "agent.js"\ncategory = "test"\n${more}`);
    form.set('code', new Blob([code], { type: 'text/javascript' }), 'agent.js');
    await this.api('/agents', { method: 'POST', body: form });
  }

  async run(agent, input = {}) { return (await this.api('/runs', { method: 'POST', json: { agent, input } })).id; }

  async events(run) { return (await this.api(`/runs/${run}/events?limit=500`)).items; }

  /** Waits for a condition over the run. */
  async when(run, holds) {
    for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => { setTimeout(resolve, 50); })) {
      const now = await this.api(`/runs/${run}`);
      if (holds(now)) return now;
    }
    throw new Error(`run ${run} did not come that far`);
  }
}

/** An agent that asks `rounds` times, with a step, a log line and a remembered value around each. */
export const talker = `
export default async function run(input, station) {
  const answers = [];
  for (let n = 1; n <= input.rounds; n += 1) {
    answers.push(await station.step('Round ' + n, async () => {
      console.log('asking', n);
      const { content } = await station.models.chat('round ' + n);
      await station.memory.put('round/' + n, content);
      return content;
    }));
  }
  if (input.slowly) answers.push((await station.models.chat('say it slowly')).content);
  return { answers };
}
`;
export const talkerMay = '[capabilities]\nmodels = ["default"]\nmemory = true\n';
