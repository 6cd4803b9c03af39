// Children in parallel: started together, heard as they come, one of them asked more, all told to finish.

const TOPICS_MAX = 20;
/** The most that the answer to the question itself may take. */
const QUOTA = { fuel: 500_000_000, timeMs: 60_000, costMicros: 50_000 };

export default async function run(input, station) {
  const topics = [...new Set(input.topics.split("\n").map((line) => line.trim()).filter(Boolean))];
  if (topics.length === 0 || topics.length > TOPICS_MAX) throw new StationError(`1 to ${TOPICS_MAX} topics, not ${topics.length}`, { code: "invalid" });

  const researchers = await station.step("Start the researchers", () => Promise.all(
    topics.map(async (topic) => ({ topic, run: await station.agents.start("researcher", { topic, notes: input.notes }), report: null }))));
  await station.step("Hear the reports", () => hear(researchers, (input.patience ?? 300) * 1000, station));
  const heard = researchers.filter(({ report }) => report !== null);
  if (heard.length === 0) throw new StationError("no researcher reported in time", { code: "timeout", retryable: true });

  const answer = await station.step("Ask the one who knows most", () => askBest(input.question, heard, station));
  const results = await station.step("Finish", () => Promise.all(heard.map(({ run }) => station.agents.ask(run, "finish"))));
  for (const [at, { output }] of results.entries()) heard[at].findings = output?.findings ?? [];

  await station.artifacts.put("report.md", write(input.question, answer, researchers));
  return {
    answer: answer.text,
    answeredBy: answer.topic,
    findings: heard.reduce((total, { findings }) => total + findings.length, 0),
    missing: researchers.filter(({ report }) => report === null).map(({ topic }) => topic),
  };
}

/** Asks all at once and takes each report when it comes, until the time is up. */
async function hear(researchers, patienceMs, station) {
  const until = station.clock.now() + patienceMs;
  const handles = await Promise.all(researchers.map(({ run }) => station.waits.ask(run, "report")));
  const asked = new Map(handles.map((handle, at) => [handle, researchers[at]]));
  while (asked.size > 0) {
    let ready;
    try {
      ready = await station.waits.any([...asked.keys()], { timeoutMs: Math.max(0, until - station.clock.now()) });
    } catch (error) {
      // One who fails is one report less.
      if (!asked.has(error.handle)) throw error;
      station.timeline.warn(`No report on ${asked.get(error.handle).topic}`, { code: error.code, message: error.message });
      asked.delete(error.handle);
      continue;
    }
    if (ready === undefined) break;
    asked.get(ready.handle).report = ready.value.text;
    asked.delete(ready.handle);
    station.timeline.progress(researchers.length - asked.size, researchers.length, "reports");
  }
  await Promise.all([...asked.keys()].map((handle) => station.waits.close(handle)));
}

async function askBest(question, heard, station) {
  const words = new Set(question.toLowerCase().match(/\p{L}{4,}/gu) ?? []);
  const knows = ({ topic, report }) => [...words].filter((word) => `${topic} ${report}`.toLowerCase().includes(word)).length;
  const best = heard.reduce((first, each) => knows(each) > knows(first) ? each : first);
  try {
    const { text } = await station.agents.ask(best.run, question, QUOTA);
    return { topic: best.topic, text };
  } catch (error) {
    if (error.code !== "quota_exhausted") throw error;
    station.timeline.warn("The answer would have taken more than it may", { message: error.message });
    return { topic: null, text: null };
  }
}

function write(question, answer, researchers) {
  const lines = [`# ${question}`, "", answer.text ?? "Nobody answered within the quota.", ""];
  for (const { topic, report, findings = [] } of researchers) {
    lines.push(`## ${topic}`, "", report ?? "No report in time.", "", ...findings.map((each) => `> ${each}`), "");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}
