// What waits for others: people's decisions, messages, other agents, time.
// Evaluated together with prelude.js, which lends its checks and its way to the station.
(function (lent) {
  "use strict";

  const { host, call, StationError, httpRequest, chatRequest } = lent;
  const { text, count, optionalCount, oneOf, list, fields, json, optionalJson } = lent.checks;
  const { parse } = JSON;
  const { atob, btoa } = globalThis;
  const VERBS = ["approve", "edit", "deny"];
  const MEANINGS_OF_TIME_OUT = ["cancel", "deny"];
  const HANDLE_MAX = 0xffff_ffff;

  // ---- the arguments of an approval ----------------------------------------------------------------------------

  /** Bytes as the station's journal writes them. */
  function writeBody(body) {
    if (typeof body === "string") return { text: body };
    try {
      return { text: host.decode(body, true) };
    } catch {
      let binary = "";
      for (const byte of body) binary += String.fromCharCode(byte);
      return { base64: btoa(binary) };
    }
  }

  function readBody(body) {
    return typeof body?.base64 === "string" ? Uint8Array.from(atob(body.base64), (each) => each.charCodeAt(0)) : body?.text;
  }

  const orNone = (items) => items.length === 0 ? undefined : items;

  /**
   * The functions an approval may grant. `write` turns what the agent would call the function with into what the station
   * compares that call with; `read` turns it back, so that the agent can call the function with what was decided.
   */
  const GRANTED = {
    "http.send": {
      write(given) {
        const { method, url, headers, body, timeoutMs } = httpRequest(given, "the arguments of http.send");
        return {
          method, url,
          headers: orNone(headers.map(([name, value]) => ({ name, value }))),
          body: body === undefined ? undefined : writeBody(body),
          timeout_ms: timeoutMs,
        };
      },
      read({ method, url, headers = [], body, timeout_ms: timeoutMs }) {
        const pairs = headers.map(({ name, value }) => [name, value]);
        const named = Object.fromEntries(pairs);
        // An object loses headers that come twice, and puts those that are numbers first.
        const kept = Object.keys(named).join() === pairs.map(([name]) => name).join();
        return { method, url, headers: kept ? named : pairs, body: readBody(body), timeoutMs };
      },
    },
    "models.chat": {
      write(given) {
        const { model, messages, tools, toolChoice, responseSchema, maxOutputTokens, temperature, stop, show } =
          chatRequest(given, "the arguments of models.chat");
        return {
          model,
          messages: messages.map(({ role, content, toolCalls, toolCallId }) =>
            ({ role, content, tool_calls: orNone(toolCalls), tool_call_id: toolCallId })),
          tools: orNone(tools.map(({ name, description, parameters }) => ({ name, description, parameters }))),
          tool_choice: toolChoice, response_schema: responseSchema, max_output_tokens: maxOutputTokens,
          temperature, stop: orNone(stop), show,
        };
      },
      read({ messages = [], tool_choice: toolChoice, response_schema: responseSchema, max_output_tokens: maxOutputTokens, ...rest }) {
        return {
          ...rest,
          messages: messages.map(({ role, content, tool_calls: toolCalls, tool_call_id: toolCallId }) => ({ role, content, toolCalls, toolCallId })),
          toolChoice, responseSchema, maxOutputTokens,
        };
      },
    },
  };

  function approvalRequest(given, what) {
    const { action, arguments: asked = {}, reason, verbs, timeoutMs, onTimeout = "cancel", extra } =
      fields(given, what, ["action", "arguments", "reason", "verbs", "timeoutMs", "onTimeout", "extra"]);
    const name = text(action, `${what} action`);
    return {
      action: name,
      arguments: json(Object.hasOwn(GRANTED, name) ? GRANTED[name].write(asked) : asked, `${what} arguments`),
      reason: text(reason, `${what} reason`),
      verbs: list(verbs, `${what} verbs`).map((each) => oneOf(each, `${what} verbs`, VERBS)),
      timeoutMs: optionalCount(timeoutMs, `${what} timeoutMs`),
      onTimeout: oneOf(onTimeout, `${what} onTimeout`, MEANINGS_OF_TIME_OUT),
      extra: optionalJson(extra, `${what} extra`),
    };
  }

  function readDecision(decision, action) {
    const decided = parse(decision.arguments);
    return {
      verb: decision.verb,
      approved: decision.verb !== "deny",
      arguments: Object.hasOwn(GRANTED, action) ? GRANTED[action].read(decided) : decided,
      reason: decision.reason,
      by: decision.by,
    };
  }

  const approvals = {
    async request(request) {
      const asked = approvalRequest(request, "station.approvals.request");
      return readDecision(await call("approvals-request", asked), asked.action);
    },
  };

  // ---- messages ------------------------------------------------------------------------------------------------

  const inbox = {
    reply: async (said) => call("inbox-reply", text(said, "station.inbox.reply text")),
    async receive(options) {
      const what = "station.inbox.receive";
      const { timeoutMs } = fields(options, `${what} options`, ["timeoutMs"]);
      return call("inbox-receive", optionalCount(timeoutMs, `${what} timeoutMs`));
    },
  };

  // ---- other agents --------------------------------------------------------------------------------------------

  function askRequest(run, message, quota, what) {
    const { fuel, timeMs, costMicros } = fields(quota, `${what} quota`, ["fuel", "timeMs", "costMicros"]);
    return {
      run: text(run, `${what} run`),
      message: text(message, `${what} message`),
      fuel: optionalCount(fuel, `${what} fuel`),
      timeMs: optionalCount(timeMs, `${what} timeMs`),
      costMicros: optionalCount(costMicros, `${what} costMicros`),
    };
  }

  const readAnswer = ({ text: said, output }) => ({ text: said, output: output === undefined ? undefined : parse(output) });

  const agents = {
    async start(agent, input = {}) {
      const what = "station.agents.start";
      return call("agents-start", { agent: text(agent, `${what} agent`), input: json(input, `${what} input`) });
    },
    async ask(run, message, quota) {
      return readAnswer(await call("agents-ask", askRequest(run, message, quota, "station.agents.ask")));
    },
    async run(agent, input) {
      // Made here, so that a failure's stack shows where the agent asked.
      const error = new StationError();
      try {
        const handle = await waits.child(await agents.start(agent, input));
        return (await waits.any([handle])).value;
      } catch (cause) {
        if (!(cause instanceof StationError)) throw cause;
        const { code, message, retryable } = cause;
        throw Object.assign(error, { code, message, retryable });
      }
    },
  };

  // ---- whichever comes first -----------------------------------------------------------------------------------

  /** What the approvals among the handles are about. */
  const actions = new Map();

  const READERS = {
    timer: () => undefined,
    approval: (decision, handle) => readDecision(decision, actions.get(handle)),
    message: (message) => message,
    child: (output) => parse(output),
    ask: readAnswer,
  };

  const open = (kind, on) => call("waits-open", { kind, on });

  const waits = {
    timer: async (ms) => open("timer", milliseconds(ms, "station.waits.timer")),
    async approval(request) {
      const asked = approvalRequest(request, "station.waits.approval");
      const handle = await open("approval", asked);
      actions.set(handle, asked.action);
      return handle;
    },
    message: async () => open("message"),
    child: async (run) => open("child", text(run, "station.waits.child run")),
    ask: async (run, message, quota) => open("ask", askRequest(run, message, quota, "station.waits.ask")),

    async any(handles, options) {
      const what = "station.waits.any";
      const error = new StationError();
      const { timeoutMs } = fields(options, `${what} options`, ["timeoutMs"]);
      const given = list(handles, `${what} handles`).map((each) => count(each, `${what} handles`, HANDLE_MAX));
      if (given.length === 0) throw new TypeError(`${what} needs at least one handle; to wait for time alone, use station.clock.sleep`);
      const ready = await call("waits-any", { handles: given, timeoutMs: optionalCount(timeoutMs, `${what} timeoutMs`) });
      if (ready === undefined) return undefined;
      const { handle, failure, kind, value } = ready;
      if (failure) throw Object.assign(error, failure, { handle });
      return { handle, value: READERS[kind](value, handle) };
    },
    close: async (handle) => call("waits-close", count(handle, "station.waits.close handle", HANDLE_MAX)),
  };

  function milliseconds(value, what) {
    return count(typeof value === "number" ? Math.ceil(value) : value, `${what} milliseconds`);
  }

  const sleep = async (ms) => call("clock-sleep", milliseconds(ms, "station.clock.sleep"));

  return { approvals, inbox, agents, waits, sleep };
});
