// A model with tools, asked again and again until it has an answer.
// Evaluated together with prelude.js, which lends its checks and the functions of `station` that the loop is made of.
(function (lent) {
  "use strict";

  const { StationError, chat, tools: station, step, log, looseJson, inspect } = lent;
  const { text, optionalText, count, optionalCount, list, fields, json } = lent.checks;
  const { stringify } = JSON;

  const NAMES = ["instructions", "input", "model", "tools", "maxTurns", "maxCostMicros", "maxRepeats", "maxOutputTokens", "maxResultChars",
    "temperature", "responseSchema", "show", "onStep"];
  const TURNS_DEFAULT = 12;
  const TURNS_MOST = 1000;
  /** As often as a call may give the same result in turns that follow each other. */
  const REPEATS_DEFAULT = 4;
  /** As often as a call may fail in turns that follow each other, and a reply be empty. */
  const FAILURES_MOST = 3;
  /** Turns of going to and fro between two things. */
  const PING_PONG = 6;
  /** Characters of a tool's result that the model is given. */
  const RESULT_CHARS_DEFAULT = 20_000;
  const RESULT_CHARS_LEAST = 200;
  /** Characters of what is quoted back. */
  const QUOTE_CHARS = 200;
  const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

  // ---- what the loop is called with ------------------------------------------------------------------------------

  function conversation(instructions, input, what) {
    const given = (typeof input === "string" ? [input] : list(input, `${what} input`)).map((each) => typeof each === "string" ? nudge(each) : each);
    if (given.length === 0) throw new TypeError(`${what} needs an input: a text, or messages`);
    if (instructions === undefined) return given;
    // Those of now count, so that the messages of one conversation can be given to the next.
    const first = given.findIndex((each) => each?.role !== "system");
    return [{ role: "system", content: instructions }, ...given.slice(first === -1 ? given.length : first)];
  }

  function ownTool(given, what) {
    const { name, description = "", parameters = { type: "object" }, run } = fields(given, what, ["name", "description", "parameters", "run"]);
    if (!TOOL_NAME.test(text(name, `${what}.name`))) throw new TypeError(`${what}.name must be 1 to 64 of a–z, A–Z, 0–9, “_” and “-”, not ${inspect(name)}`);
    if (typeof run !== "function") throw new TypeError(`${what}.run must be a function`);
    return { name, description: text(description, `${what}.description`), parameters: typeof parameters === "string" ? parameters : json(parameters, `${what}.parameters`), run };
  }

  /** The tools by name, each `{ name, description, parameters, run }`. */
  async function gather(given, what) {
    const asked = given === undefined ? undefined : list(given, `${what} tools`);
    const own = new Map();
    const names = [];
    for (const [at, each] of (asked ?? []).entries()) {
      if (typeof each === "string") { names.push(each); continue; }
      const tool = ownTool(each, `${what} tools[${at}]`);
      if (own.has(tool.name)) throw new TypeError(`${what} has two tools named "${tool.name}"`);
      own.set(tool.name, tool);
    }
    if (asked !== undefined && names.length === 0) return own;

    const granted = new Map((await station.describe()).map((each) => [each.name, each]));
    const found = new Map();
    for (const name of asked === undefined ? granted.keys() : names) {
      const tool = granted.get(name);
      if (!tool) {
        const have = granted.size === 0 ? "none is granted" : `granted are ${[...granted.keys()].join(", ")}`;
        throw new StationError(`the tool "${name}" is not granted, or this station has none of that name (${have}); name it in the manifest's tools`, { code: "denied" });
      }
      if (own.has(name)) throw new TypeError(`${what} has two tools named "${name}"`);
      const { description, parameters } = tool;
      found.set(name, { name, description, parameters, run: (args) => station.call(name, args) });
    }
    for (const [name, tool] of own) found.set(name, { ...tool, own: true });
    return found;
  }

  // ---- one call of a tool ----------------------------------------------------------------------------------------

  const cutAt = (value, most) => value.length <= most ? value : `${value.slice(0, most).toWellFormed()}…`;

  function resultText(value, most) {
    const whole = typeof value === "string" ? value.toWellFormed() : value === undefined ? "null" : json(value, "a tool's result");
    if (whole.length <= most) return whole;
    return `${whole.slice(0, most).toWellFormed()}\n[cut: ${whole.length - most} of ${whole.length} characters are left out; ask for less, or for a part]`;
  }

  const failed = (code, message) => ({ failed: true, code, content: `Error (${code}): ${message}` });

  /** The object that a model wrote; undefined where it is none. */
  function readArguments(written) {
    const args = written.trim() === "" ? {} : looseJson(written);
    return args === null || typeof args !== "object" || Array.isArray(args) ? undefined : args;
  }

  async function use(call, tools, most) {
    const tool = tools.get(call.name);
    if (!tool) return failed("not_found", `there is no tool "${cutAt(call.name, QUOTE_CHARS)}"; you have ${[...tools.keys()].join(", ") || "none"}`);
    const args = readArguments(call.arguments);
    if (args === undefined) {
      return failed("invalid", `the arguments must be one JSON object; these are none: ${cutAt(call.arguments, QUOTE_CHARS)}`);
    }
    try {
      return { failed: false, content: resultText(await tool.run(args), most) };
    } catch (error) {
      // Full memory is nothing that a model could mend.
      if (error === null || error?.name === "InternalError") throw error;
      const [code, message] = error instanceof StationError ? [error.code, error.message] : ["agent_error", error instanceof Error ? `${error.name}: ${error.message}` : inspect(error)];
      if (tool.own) log("warn", `The tool ${call.name} failed`, { code: String(code), message: cutAt(String(message), QUOTE_CHARS) });
      return failed(code, cutAt(String(message), most));
    }
  }

  /** As `http_request ×2, calculator`. */
  function inWords(calls) {
    const counts = new Map();
    for (const { name } of calls) counts.set(name, (counts.get(name) ?? 0) + 1);
    return cutAt([...counts].map(([name, times]) => times > 1 ? `${name} ×${times}` : name).join(", "), QUOTE_CHARS);
  }

  // ---- whether it still gets anywhere ----------------------------------------------------------------------------

  class Progress {
    /** How many turns in a row had this call with this result. */
    #streaks = new Map();
    #turns = [];
    #nudged = false;

    constructor(repeats) { this.repeats = repeats; }

    /** What a turn of calls is stuck in; undefined where it is not. */
    look(uses) {
      const streaks = new Map();
      for (const { name, arguments: args, result } of uses) {
        const key = stringify([name, args, result.failed ? result.code : null, result.failed ? "" : result.content]);
        streaks.set(key, { times: (this.#streaks.get(key)?.times ?? 0) + 1, name, failed: result.failed });
      }
      this.#streaks = streaks;
      this.#turns.push([...streaks.keys()].sort().join("\n"));
      if (this.#turns.length > PING_PONG) this.#turns.shift();

      const same = [...streaks.values()];
      // One call that gets somewhere is enough.
      if (same.every(({ times, failed }) => times >= (failed ? Math.min(FAILURES_MOST, this.repeats) : this.repeats))) {
        const [{ name, times, failed }] = same;
        return failed ? `${name} failed ${times} times in a row with the same arguments` : `${name} gave the same result ${times} times in a row`;
      }
      const [a, b] = this.#turns;
      if (this.#turns.length === PING_PONG && a !== b && this.#turns.every((each, at) => each === (at % 2 === 0 ? a : b))) {
        return `it goes to and fro between the same two calls, for ${PING_PONG} turns`;
      }
      return undefined;
    }

    /** Whether the model was told before and is no further; it is told once for each time. */
    tell(why) {
      const before = this.#nudged;
      this.#nudged = why !== undefined;
      return before && this.#nudged;
    }
  }

  // ---- the loop --------------------------------------------------------------------------------------------------

  async function loop(given, what) {
    const { input, model, temperature, show = "timeline", responseSchema } = given;
    const instructions = optionalText(given.instructions, `${what} instructions`);
    const maxTurns = Math.max(1, count(given.maxTurns ?? TURNS_DEFAULT, `${what} maxTurns`, TURNS_MOST));
    const maxCostMicros = optionalCount(given.maxCostMicros, `${what} maxCostMicros`);
    const repeats = Math.max(2, count(given.maxRepeats ?? REPEATS_DEFAULT, `${what} maxRepeats`, TURNS_MOST));
    const maxOutputTokens = optionalCount(given.maxOutputTokens, `${what} maxOutputTokens`, 0xffff_ffff);
    const resultChars = Math.max(RESULT_CHARS_LEAST, count(given.maxResultChars ?? RESULT_CHARS_DEFAULT, `${what} maxResultChars`));
    const { onStep } = given;
    if (onStep !== undefined && typeof onStep !== "function") throw new TypeError(`${what} onStep must be a function`);
    const messages = conversation(instructions, input, what);

    const tools = await gather(given.tools, what);
    const described = [...tools.values()].map(({ name, description, parameters }) => ({ name, description, parameters }));
    const progress = new Progress(repeats);
    const usage = { inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0 };
    const result = { output: "", json: undefined, messages, turns: 0, toolCalls: 0, usage, costMicros: 0, stopped: "done" };
    const stuck = (why) => Object.assign(new StationError(`stuck: ${why}`), { result: { ...result, stopped: "stuck" } });
    const outOfMoney = () => maxCostMicros !== undefined && result.costMicros >= maxCostMicros;
    /** Set where the answer is there and only its form is not. */
    let answered = false;
    let empty = 0;

    async function ask(last) {
      // The last turn is for the answer; so is the one that gives it its form.
      const toolChoice = described.length > 0 && last ? "none" : undefined;
      const schema = last || described.length === 0 ? responseSchema : undefined;
      const reply = await chat({ model, messages, tools: described, toolChoice, responseSchema: schema, maxOutputTokens, temperature, show });
      result.turns += 1;
      for (const key of Object.keys(usage)) usage[key] += reply.usage[key];
      result.costMicros += reply.usage.costMicros;
      if (reply.content.trim() !== "") result.output = reply.content;
      if (schema !== undefined) result.json = reply.json;
      return reply;
    }

    /** One reply and the calls that it asks for; true where it was the last. */
    async function turn(last) {
      let reply;
      try {
        reply = await ask(last);
      } catch (error) {
        // The first question is the agent's to ask; what came after it is kept.
        if (!(error instanceof StationError) || error.code !== "budget_exhausted" || result.turns === 0) throw error;
        log("warn", "The tool loop stopped where the money did", { message: cutAt(error.message, QUOTE_CHARS) });
        result.stopped = "cost";
        return true;
      }
      // As the model wrote them; `reply.toolCalls` has the arguments of those that could be read.
      const calls = reply.message.toolCalls.map((each, at) => ({ ...each, id: each.id || `call_${result.turns}_${at}` }));
      const report = async (uses) => onStep?.({
        turn: result.turns, content: reply.content, costMicros: result.costMicros,
        toolCalls: uses.map(({ name, arguments: args, result: { failed, content } }) => ({ name, arguments: readArguments(args), failed, content })),
      });

      if (calls.length > 0 && !last && !outOfMoney()) {
        const uses = await step(inWords(calls), () => Promise.all(calls.map(async (call) => ({ ...call, result: await use(call, tools, resultChars) }))));
        result.toolCalls += uses.length;
        empty = 0;
        // What is no object would be refused with the next request; what it was stands in the result.
        const sent = calls.map((each) => ({ ...each, arguments: readArguments(each.arguments) ?? {} }));
        messages.push({ role: "assistant", content: reply.content, toolCalls: sent });
        for (const each of uses) messages.push({ role: "tool", toolCallId: each.id, content: each.result.content });
        await report(uses);
        const why = progress.look(uses);
        if (progress.tell(why)) throw stuck(why);
        if (why !== undefined) messages.push(nudge(`You repeat yourself: ${why}. Do something else, or answer with what you have.`));
        return false;
      }

      if (reply.content.trim() !== "") messages.push({ role: "assistant", content: reply.content });
      await report([]);
      if (calls.length > 0) {
        result.stopped = last ? "turns" : "cost";
        return true;
      }
      if (reply.content.trim() === "" && !last) {
        empty += 1;
        if (empty === FAILURES_MOST) throw stuck(`${empty} replies in a row were empty`);
        messages.push(nudge("Your reply was empty. Use a tool, or answer."));
        return false;
      }
      if (!last && responseSchema !== undefined && described.length > 0) {
        answered = true;
        messages.push(nudge("Now give this answer as JSON of the form that was asked for, and nothing else."));
        return false;
      }
      if (last && !answered && described.length > 0) result.stopped = "turns";
      return true;
    }

    for (;;) {
      // What an answer's form costs is part of the answer.
      if (outOfMoney() && !answered) {
        result.stopped = "cost";
        break;
      }
      const last = answered || result.turns + 1 >= maxTurns;
      if (last && !answered && result.turns > 0 && described.length > 0) {
        messages.push(nudge("This is your last turn, without tools: answer now with what you have."));
      }
      if (await step(answered ? "The answer's form" : `Turn ${result.turns + 1}`, () => turn(last))) break;
    }
    if (result.stopped === "turns" || (result.stopped === "cost" && outOfMoney())) {
      const why = result.stopped === "turns" ? `${maxTurns} turns` : `a cost of ${maxCostMicros} millionths of a dollar`;
      log("warn", `The tool loop stopped at its limit: ${why}`, { turns: result.turns, costMicros: result.costMicros });
    }
    return result;
  }

  const nudge = (content) => ({ role: "user", content });

  async function runTools(request) {
    const what = "station.models.runTools";
    // Made here, so that a failure's stack shows where the agent asked.
    const error = new StationError();
    const given = fields(request, what, NAMES);
    try {
      return await loop(given, what);
    } catch (cause) {
      if (!(cause instanceof StationError)) throw cause;
      const { code, message, retryable, result } = cause;
      throw Object.assign(error, { code, message, retryable }, result && { result });
    }
  }

  return { runTools };
});
