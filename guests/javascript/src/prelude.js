// What an agent sees: `station`, `console`, and the few globals a browser would have had.
// Evaluated once, when the runtime is built, and frozen into it: its size costs a run nothing.
// `host` holds the functions of src/host.rs and src/calls.rs, `waiting` is waiting.js, `looping` is tools.js; what this file
// returns is called from src/segment.rs.
(function (host, waiting, looping) {
  "use strict";

  const { parse, stringify } = JSON;
  const LEVELS = ["debug", "info", "warn", "error"];
  const ROLES = ["system", "user", "assistant", "tool"];
  const SHOWS = ["none", "timeline", "reply"];
  const CONTENT_TYPES = {
    csv: "text/csv", css: "text/css", html: "text/html", jpg: "image/jpeg", js: "text/javascript", json: "application/json",
    md: "text/markdown", pdf: "application/pdf", png: "image/png", svg: "image/svg+xml", txt: "text/plain", xml: "application/xml",
  };

  /** What a call rejects with, and what an agent may throw to end its run under a code of its own choice. */
  class StationError extends Error {
    constructor(message = "", { code = "agent_error", retryable = false } = {}) {
      super(message);
      this.code = code;
      this.retryable = retryable;
    }
    get name() { return "StationError"; }
  }

  /** What `station.next` makes: this segment is over, another follows. */
  class Continuation {
    constructor(state, wake) { this.state = state; this.wake = wake; }
  }

  /** What `station.done` makes: the run is over. */
  class Completion {
    constructor(output) { this.output = output; }
  }

  // ---- checking what agents pass -------------------------------------------------------------------------------

  const kindOf = (value) => value === null ? "null" : Array.isArray(value) ? "an array" : typeof value === "object" ? "an object" : typeof value;

  function text(value, what) {
    if (typeof value !== "string") throw new TypeError(`${what} must be a string, not ${kindOf(value)}`);
    return value.toWellFormed();
  }

  function optionalText(value, what) {
    return value === undefined || value === null ? undefined : text(value, what);
  }

  function count(value, what, most = Number.MAX_SAFE_INTEGER) {
    if (!Number.isInteger(value) || value < 0 || value > most) throw new TypeError(`${what} must be a whole number from 0 to ${most}`);
    return value;
  }

  function optionalCount(value, what, most) {
    return value === undefined || value === null ? undefined : count(value, what, most);
  }

  function number(value, what) {
    if (typeof value !== "number" || !Number.isFinite(value)) throw new TypeError(`${what} must be a number, not ${kindOf(value)}`);
    return value;
  }

  function oneOf(value, what, allowed) {
    if (!allowed.includes(value)) throw new TypeError(`${what} must be one of ${allowed.join(", ")}, not ${inspect(value)}`);
    return value;
  }

  function list(value, what) {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw new TypeError(`${what} must be an array, not ${kindOf(value)}`);
    return value;
  }

  function fields(value, what, names) {
    if (value === undefined) return {};
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new TypeError(`${what} must be an object, not ${kindOf(value)}`);
    for (const name of Object.keys(value)) {
      if (!names.includes(name)) throw new TypeError(`${what} does not know "${name}"; it takes ${names.join(", ")}`);
    }
    return value;
  }

  function json(value, what) {
    let encoded;
    try {
      encoded = stringify(value);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new TypeError(`${what} cannot be turned into JSON: ${error.message}`);
    }
    if (encoded === undefined) throw new TypeError(`${what} cannot be turned into JSON: it is ${kindOf(value)}`);
    // Half a character (a cut emoji) is written as an escape that readers of JSON refuse.
    if (host.contains(encoded, "\\ud")) encoded = encoded.replace(/\\(?:ud[89a-f]..|[^])/g, (escape) => escape.length > 2 ? "\\ufffd" : escape);
    return encoded;
  }

  function optionalJson(value, what) {
    if (value === undefined || value === null) return undefined;
    return typeof value === "string" ? text(value, what) : json(value, what);
  }

  /** Bytes as the host takes them: a string is sent as UTF-8. */
  function bytes(value) {
    if (typeof value === "string") return value.toWellFormed();
    if (value instanceof Uint8Array) return value;
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return undefined;
  }

  // ---- calls ---------------------------------------------------------------------------------------------------

  /** One call to the station, made when the job queue is empty, together with the others that are waiting by then. */
  function call(kind, request) {
    // Made here, so that a failure's stack shows where the agent asked.
    const error = new StationError();
    return new Promise((resolve, reject) => {
      host.call(kind, request, resolve, (code, message, retryable) => {
        error.message = message;
        error.code = code;
        error.retryable = retryable;
        reject(error);
      });
    });
  }

  function message(value, what) {
    if (typeof value === "string") return { role: "user", content: value.toWellFormed(), toolCalls: [] };
    const { role, content = "", toolCalls, toolCallId, extra } = fields(value, what, ["role", "content", "toolCalls", "toolCallId", "extra"]);
    return {
      role: oneOf(role, `${what}.role`, ROLES),
      content: typeof content === "string" ? content.toWellFormed() : json(content, `${what}.content`),
      toolCalls: list(toolCalls, `${what}.toolCalls`).map((each, at) => toolCall(each, `${what}.toolCalls[${at}]`)),
      toolCallId: optionalText(toolCallId, `${what}.toolCallId`),
      extra: optionalJson(extra, `${what}.extra`),
    };
  }

  function toolCall(value, what) {
    const { id, name, arguments: given = {} } = fields(value, what, ["id", "name", "arguments"]);
    return {
      id: text(id, `${what}.id`),
      name: text(name, `${what}.name`),
      arguments: typeof given === "string" ? given.toWellFormed() : json(given, `${what}.arguments`),
    };
  }

  function tool(value, what) {
    const { name, description = "", parameters = { type: "object" }, extra } = fields(value, what, ["name", "description", "parameters", "extra"]);
    return {
      name: text(name, `${what}.name`),
      description: text(description, `${what}.description`),
      parameters: optionalJson(parameters, `${what}.parameters`),
      extra: optionalJson(extra, `${what}.extra`),
    };
  }

  /** The value of a model's JSON, with or without the fence some models put around it; undefined if it is not JSON. */
  function looseJson(content) {
    const fenced = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(content);
    try {
      return parse(fenced ? fenced[1] : content);
    } catch {
      return undefined;
    }
  }

  /** What models.chat was called with, every field checked and in the shape of the call. */
  function chatRequest(request, what) {
    const given = typeof request === "string"
      ? { messages: [request] }
      : fields(request, what, ["model", "messages", "tools", "toolChoice", "responseSchema", "maxOutputTokens", "temperature", "stop", "show", "extra"]);
    const messages = typeof given.messages === "string" ? [given.messages] : list(given.messages, `${what} messages`);
    if (messages.length === 0) throw new TypeError(`${what} needs at least one message`);
    const stop = typeof given.stop === "string" ? [given.stop] : list(given.stop, `${what} stop`);
    return {
      model: text(given.model ?? "default", `${what} model`),
      messages: messages.map((each, at) => message(each, `${what} messages[${at}]`)),
      tools: list(given.tools, `${what} tools`).map((each, at) => tool(each, `${what} tools[${at}]`)),
      toolChoice: optionalText(given.toolChoice, `${what} toolChoice`),
      responseSchema: optionalJson(given.responseSchema, `${what} responseSchema`),
      maxOutputTokens: optionalCount(given.maxOutputTokens, `${what} maxOutputTokens`, 0xffff_ffff),
      temperature: given.temperature === undefined || given.temperature === null ? undefined : number(given.temperature, `${what} temperature`),
      stop: stop.map((each) => text(each, `${what} stop`)),
      show: oneOf(given.show ?? "timeline", `${what} show`, SHOWS),
      extra: optionalJson(given.extra, `${what} extra`),
    };
  }

  const models = {
    async chat(request) {
      const asked = chatRequest(request, "station.models.chat");
      const reply = await call("models-chat", asked);
      // As the next request wants it: `messages.push(reply.message)`.
      reply.message = { role: "assistant", content: reply.content, toolCalls: reply.toolCalls.map((each) => ({ ...each })) };
      for (const each of reply.toolCalls) each.arguments = looseJson(each.arguments) ?? {};
      if (asked.responseSchema !== undefined) reply.json = looseJson(reply.content);
      return reply;
    },
  };

  function withBody(object) {
    const hidden = (value) => ({ value, enumerable: false });
    return Object.defineProperties(object, {
      text: hidden(() => host.decode(object.body, false)),
      json: hidden(() => parse(host.decode(object.body, false))),
    });
  }

  /** What http.send was called with, every field checked and in the shape of the call. */
  function httpRequest(request, what) {
    const given = fields(request, what, ["method", "url", "headers", "body", "timeoutMs", "extra"]);
    const pairs = Array.isArray(given.headers) ? given.headers.map((pair) => list(pair, `a header in ${what}`))
      : Object.entries(fields(given.headers, `${what} headers`, Object.keys(given.headers ?? {})));
    const headers = pairs.map(([name, value]) =>
      [text(name, `${what} headers`), text(typeof value === "number" ? String(value) : value, `${what} header "${name}"`)]);
    let body = given.body === undefined || given.body === null ? undefined : bytes(given.body);
    if (body === undefined && given.body !== undefined && given.body !== null) {
      body = json(given.body, `${what} body`);
      if (!headers.some(([name]) => name.toLowerCase() === "content-type")) headers.push(["content-type", "application/json"]);
    }
    return {
      method: text(given.method ?? (body === undefined ? "GET" : "POST"), `${what} method`).toUpperCase(),
      url: text(given.url, `${what} url`),
      headers,
      body,
      timeoutMs: optionalCount(given.timeoutMs, `${what} timeoutMs`, 0xffff_ffff),
      extra: optionalJson(given.extra, `${what} extra`),
    };
  }

  const http = {
    async send(request) {
      const response = await call("http-send", httpRequest(request, "station.http.send"));
      const named = {};
      for (const [name, value] of response.headers) {
        const key = name.toLowerCase();
        named[key] = Object.hasOwn(named, key) ? `${named[key]}, ${value}` : value;
      }
      response.headers = named;
      response.ok = response.status >= 200 && response.status < 300;
      return withBody(response);
    },
    get: (url, options = {}) => http.send({ ...options, method: "GET", url }),
    post: (url, body, options = {}) => http.send({ ...options, method: "POST", url, body }),
  };

  /** Values are JSON by custom, not by contract: what a component wrote as plain text is given as that text. */
  function entry(raw) {
    let value = raw.value;
    try { value = parse(raw.value); } catch { /* plain text */ }
    return { ...raw, value };
  }

  const page = ({ entries, ...rest }) => ({ entries: entries.map(entry), ...rest });

  const memory = {
    async get(key) {
      return (await memory.getEntry(key))?.value;
    },
    async getEntry(key) {
      const raw = await call("memory-get", text(key, "station.memory.get key"));
      return raw && entry(raw);
    },
    async put(key, value, options) {
      const what = "station.memory.put";
      const { ifVersion, extra } = fields(options, `${what} options`, ["ifVersion", "extra"]);
      return call("memory-put", {
        key: text(key, `${what} key`),
        value: json(value, `${what} value`),
        ifVersion: optionalCount(ifVersion, `${what} ifVersion`),
        extra: optionalJson(extra, `${what} extra`),
      });
    },
    async delete(key, options) {
      const what = "station.memory.delete";
      const { ifVersion, extra } = fields(options, `${what} options`, ["ifVersion", "extra"]);
      return call("memory-delete", {
        key: text(key, `${what} key`),
        ifVersion: optionalCount(ifVersion, `${what} ifVersion`),
        extra: optionalJson(extra, `${what} extra`),
      });
    },
    async list(request) {
      const what = "station.memory.list";
      const { prefix = "", after, limit = 100, extra } = fields(request, what, ["prefix", "after", "limit", "extra"]);
      return page(await call("memory-list", {
        prefix: text(prefix, `${what} prefix`),
        after: optionalText(after, `${what} after`),
        limit: count(limit, `${what} limit`, 0xffff_ffff),
        extra: optionalJson(extra, `${what} extra`),
      }));
    },
    async search(request) {
      const what = "station.memory.search";
      const { query, prefix = "", limit = 100, extra } = fields(
        typeof request === "string" ? { query: request } : request, what, ["query", "prefix", "limit", "extra"]);
      return page(await call("memory-search", {
        query: text(query, `${what} query`),
        prefix: text(prefix, `${what} prefix`),
        limit: count(limit, `${what} limit`, 0xffff_ffff),
        extra: optionalJson(extra, `${what} extra`),
      }));
    },
  };

  const artifacts = {
    async put(name, body, contentType) {
      const what = "station.artifacts.put";
      const extension = text(name, `${what} name`).split(".").pop().toLowerCase();
      const sent = bytes(body) ?? `${stringify(body, null, 2) ?? json(body, `${what} body`)}\n`;
      const guess = CONTENT_TYPES[extension] ?? (typeof sent === "string" ? "text/plain" : "application/octet-stream");
      return call("artifacts-put", { name: name.toWellFormed(), contentType: text(contentType ?? guess, `${what} contentType`), body: sent });
    },
    async get(name) {
      const found = await call("artifacts-get", text(name, "station.artifacts.get name"));
      return found && withBody(found);
    },
    list: () => call("artifacts-list"),
  };

  const tools = {
    describe: () => call("tools-describe"),
    /** The tool's result, parsed. */
    async call(name, given = {}) {
      const what = "station.tools.call";
      const result = await call("tools-call", { name: text(name, `${what} name`), arguments: json(fields(given, `${what} arguments`, Object.keys(given ?? {})), `${what} arguments`) });
      return parse(result);
    },
  };

  const { approvals, inbox, agents, waits, sleep } = waiting({
    host, call, StationError, httpRequest, chatRequest,
    checks: { text, count, optionalCount, oneOf, list, fields, json, optionalJson },
  });

  // ---- what needs no answer ------------------------------------------------------------------------------------

  function log(level, message, given) {
    const shown = typeof message === "string" ? message.toWellFormed() : inspect(message);
    const data = given === undefined ? undefined
      : json(fields(given, "a log line's fields", Object.keys(given ?? {})), "a log line's fields");
    host.log(LEVELS.indexOf(level), shown, data);
  }

  const timeline = {
    log(level, message, given) {
      if (LEVELS.includes(level) && message !== undefined && (typeof message !== "object")) log(level, message, given);
      else log("info", level, message);
    },
    progress(done, total = 0, message = "", extra) {
      if (typeof done === "object") ({ done, total = 0, message = "", extra } = fields(done, "station.timeline.progress", ["done", "total", "message", "extra"]));
      host.progress(number(done, "progress done"), number(total, "progress total"), text(message, "progress message"), optionalJson(extra, "progress extra"));
    },
    emit(kind, data = null, options) {
      const { audience = 0 } = fields(options, "station.timeline.emit options", ["audience"]);
      host.emit(text(kind, "station.timeline.emit kind"), json(data, "station.timeline.emit data"), count(audience, "station.timeline.emit audience", 0xffff_ffff));
    },
  };
  for (const level of LEVELS) timeline[level] = (message, given) => log(level, message, given);

  async function step(name, work) {
    if (typeof work !== "function") throw new TypeError("station.step(name, work) needs a function to run");
    const number = host.stepStart(text(name, "station.step name"));
    let failed = true;
    try {
      const value = await work();
      failed = false;
      return value;
    } finally {
      host.stepEnd(number, failed);
    }
  }

  models.runTools = looping({
    StationError, chat: models.chat, tools, step, log, looseJson, inspect,
    checks: { text, optionalText, count, optionalCount, list, fields, json },
  }).runTools;

  function next(state, options) {
    const { wake = "now" } = fields(options, "station.next options", ["wake"]);
    if (wake === "now" || wake === "message") return new Continuation(state, wake);
    const at = wake?.at instanceof Date ? wake.at.getTime() : wake?.at;
    if (at === undefined) throw new TypeError('station.next: wake must be "now", "message" or { at: milliseconds }');
    return new Continuation(state, count(Math.ceil(at), "station.next wake.at"));
  }

  const station = Object.seal({
    input: undefined,
    state: undefined,
    event: null,
    models: Object.freeze(models),
    http: Object.freeze(http),
    memory: Object.freeze(memory),
    tools: Object.freeze(tools),
    artifacts: Object.freeze(artifacts),
    timeline: Object.freeze(timeline),
    approvals: Object.freeze(approvals),
    inbox: Object.freeze(inbox),
    agents: Object.freeze(agents),
    waits: Object.freeze(waits),
    clock: Object.freeze({ now: () => host.now(), sleep }),
    random: Object.freeze({ u64: () => host.u64() }),
    calls: Object.freeze({ all: (promises) => Promise.all(promises) }),
    step,
    next,
    done: (output) => new Completion(output),
    reply: inbox.reply,
  });

  // ---- values as people read them ------------------------------------------------------------------------------

  const DEPTH_MAX = 4;
  const ITEMS_MAX = 100;

  function inspect(value, depth = 0, above = []) {
    switch (typeof value) {
      case "string": return depth === 0 ? value : stringify(value);
      case "bigint": return `${value}n`;
      case "symbol": return String(value);
      case "function": return `[Function ${value.name || "(anonymous)"}]`;
      case "object": break;
      default: return String(value);
    }
    if (value === null) return "null";
    if (above.includes(value)) return "[Circular]";
    if (value instanceof Error) return depth === 0 && value.stack ? `${value.name}: ${value.message}\n${frames(value)}`.trimEnd() : `${value.name}: ${value.message}`;
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (value instanceof Promise) return "[Promise]";
    if (depth > DEPTH_MAX) return Array.isArray(value) ? "[Array]" : "[Object]";
    const inside = (each) => inspect(each, depth + 1, [...above, value]);
    const body = (open, items, close) => {
      const shown = items.slice(0, ITEMS_MAX);
      if (items.length > ITEMS_MAX) shown.push(`… ${items.length - ITEMS_MAX} more`);
      return shown.length === 0 ? open + close : `${open} ${shown.join(", ")} ${close}`;
    };
    const items = (from) => Array.from(from.slice ? from.slice(0, ITEMS_MAX) : from, inside)
      .concat(from.length > ITEMS_MAX ? [`… ${from.length - ITEMS_MAX} more`] : []);
    if (Array.isArray(value)) return value.length === 0 ? "[]" : `[${items(value).join(", ")}]`;
    if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${value.constructor.name}(${value.length}) [${items(value).join(", ")}]`;
    if (value instanceof Map) return body("Map {", Array.from(value, ([key, each]) => `${inside(key)} => ${inside(each)}`), "}");
    if (value instanceof Set) return body("Set {", Array.from(value, inside), "}");
    const name = Object.getPrototypeOf(value)?.constructor?.name;
    const own = Object.keys(value).map((key) => `${/^[A-Za-z_$][\w$]*$/.test(key) ? key : stringify(key)}: ${inside(value[key])}`);
    return body(name && name !== "Object" ? `${name} {` : "{", own, "}");
  }

  /** A stack without the frames of this file. */
  function frames(error) {
    return String(error.stack ?? "").split("\n").filter((line) => line && !line.includes("(station:") && !line.includes("(native)")).join("\n");
  }

  // ---- globals -------------------------------------------------------------------------------------------------

  const global = (name, value) => Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  const write = (level) => (...values) => host.log(LEVELS.indexOf(level), values.map((each) => inspect(each)).join(" ").toWellFormed(), undefined);

  global("console", { log: write("info"), info: write("info"), debug: write("debug"), trace: write("debug"), warn: write("warn"), error: write("error") });
  global("StationError", StationError);
  Math.random = () => host.random();

  global("TextEncoder", class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(value = "") { return host.encode(String(value).toWellFormed()); }
  });

  global("TextDecoder", class TextDecoder {
    #fatal;
    #keepMark;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`TextDecoder reads utf-8 only, not ${label}`);
      this.#fatal = Boolean(fatal);
      this.#keepMark = Boolean(ignoreBOM);
    }
    get encoding() { return "utf-8"; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#keepMark; }
    decode(value = new Uint8Array(), { stream = false } = {}) {
      if (stream) throw new TypeError("TextDecoder does not read streams here; decode the whole text at once");
      const given = typeof value === "string" ? undefined : bytes(value);
      if (given === undefined) throw new TypeError("TextDecoder.decode takes bytes");
      const decoded = host.decode(given, this.#fatal);
      return !this.#keepMark && decoded.charCodeAt(0) === 0xfeff ? decoded.slice(1) : decoded;
    }
  });

  global("structuredClone", function structuredClone(value, seen = new Map()) {
    if (typeof value === "function" || typeof value === "symbol") throw new TypeError(`structuredClone cannot copy a ${typeof value}`);
    if (value === null || typeof value !== "object") return value;
    if (seen.has(value)) return seen.get(value);
    const copy = (each) => structuredClone(each, seen);
    const keep = (made) => (seen.set(value, made), made);
    if (value instanceof Date) return keep(new Date(value));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (value instanceof DataView) return keep(new DataView(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength)));
    if (ArrayBuffer.isView(value)) return keep(value.slice());
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) throw new TypeError("structuredClone cannot copy this value");
    if (value instanceof Map) {
      const made = keep(new Map());
      for (const [key, each] of value) made.set(copy(key), copy(each));
      return made;
    }
    if (value instanceof Set) {
      const made = keep(new Set());
      for (const each of value) made.add(copy(each));
      return made;
    }
    const made = keep(Array.isArray(value) ? new Array(value.length) : value instanceof Error ? new Error(value.message) : {});
    for (const key of Object.keys(value)) made[key] = copy(value[key]);
    return made;
  });

  // What people reach for out of habit answers with what to use here.
  const absent = (name, hint) => global(name, () => { throw new ReferenceError(`${name} does not exist in an agent: ${hint}`); });
  for (const name of ["setTimeout", "setInterval", "setImmediate"]) {
    absent(name, "to go on later, await station.clock.sleep(milliseconds), or end the segment with station.next(state, { wake: { at: milliseconds } })");
  }
  absent("fetch", "use station.http.get or station.http.send");
  absent("require", "an agent is one file and imports nothing");

  Error.stackTraceLimit = 32;

  // ---- one segment ---------------------------------------------------------------------------------------------

  /** What woke the segment, as `station.event` and as the argument of `onMessage`. */
  function readEvent(event) {
    if (event && event.extra !== undefined) event.extra = parse(event.extra);
    return event ?? null;
  }

  function isFunction(value, name) {
    if (value !== undefined && typeof value !== "function") throw new TypeError(`the export ${name} must be a function, not ${kindOf(value)}`);
    return value !== undefined;
  }

  /** `{ done }` with JSON, or `{ state, wake }` with JSON and "now", "message" or milliseconds. */
  function outcome(value) {
    if (value instanceof Completion) return outcome(value.output);
    if (!(value instanceof Continuation)) return { done: value === undefined ? "null" : json(value, "what run returned") };
    return { state: value.state === undefined ? "null" : json(value.state, "the state given to station.next"), wake: value.wake };
  }

  return {
    async start(agent, input, state, event) {
      const [run, onMessage] = [agent.default, agent.onMessage];
      const [runs, listens] = [isFunction(run, "default"), isFunction(onMessage, "onMessage")];
      if (!runs && !listens) throw new TypeError("the file exports neither a default function nor onMessage");
      station.input = parse(input);
      station.event = readEvent(event);
      station.state = state === undefined ? (runs ? undefined : {}) : parse(state);
      if (runs && !(listens && station.event?.type === "message")) return outcome(await run(station.input, station));

      let given = station.event?.type === "message" ? station.event : null;
      if (state === undefined && !given) {
        if (typeof station.input?.message !== "string") return outcome(next(station.state, { wake: "message" }));
        given = { type: "message", id: "", text: station.input.message, sender: "", sentMs: host.now() };
      }
      const returned = await onMessage(given, station);
      if (returned instanceof Continuation || returned instanceof Completion) return outcome(returned);
      if (typeof returned === "string" && returned !== "") await inbox.reply(returned);
      return outcome(next(station.state, { wake: "message" }));
    },

    /** A thrown value as a failure. */
    describe(reason) {
      if (reason instanceof StationError) {
        return { code: String(reason.code), message: String(reason.message).toWellFormed(), retryable: Boolean(reason.retryable), stack: String(reason.stack) };
      }
      if (!(reason instanceof Error)) return { code: "agent_error", message: `threw ${inspect(reason, 1)}`.toWellFormed(), retryable: false, stack: "" };
      const message = `${reason.name}: ${reason.message}`.toWellFormed();
      return { code: "agent_error", message, retryable: false, stack: String(reason.stack ?? "") };
    },
  };
});
