// Release notes from a commit log. The commits are read, grouped and written up here; a model only phrases the opening.

const SECTIONS = [
  { key: "breaking", title: "Breaking changes" },
  { key: "feature", title: "New" },
  { key: "fix", title: "Fixed" },
  { key: "performance", title: "Faster" },
  { key: "docs", title: "Documentation" },
  { key: "internal", title: "Internal" },
];

// Conventional types first, then the verb a plain subject begins with.
const TYPES = {
  feat: "feature", feature: "feature", fix: "fix", bugfix: "fix", perf: "performance", docs: "docs", doc: "docs",
  build: "internal", chore: "internal", ci: "internal", refactor: "internal", style: "internal", test: "internal", deps: "internal",
};
const VERBS = [
  [/^(add|allow|introduce|support|let|offer|show|enable)\b/i, "feature"],
  [/^(fix|correct|prevent|stop|avoid|handle|repair)\b/i, "fix"],
  [/^(speed|cache|optimi[sz]e)\b/i, "performance"],
  [/^(document|explain)\b/i, "docs"],
];

const OPENING = {
  type: "object",
  required: ["headline", "summary"],
  additionalProperties: false,
  properties: {
    headline: { type: "string", maxLength: 100 },
    summary: { type: "string", maxLength: 600 },
  },
};

export default async function run(input, station) {
  const date = input.date ?? new Date(station.clock.now()).toISOString().slice(0, 10);

  const commits = await station.step("Read the log", () => {
    const read = withoutReverted(readLog(input.log));
    if (read.length === 0) {
      throw new StationError("the log holds no commits: paste the output of `git log` or `git log --oneline`", { code: "invalid" });
    }
    station.timeline.info(`${read.length} commits to write up`, { authors: countBy(read, (each) => each.author) });
    return read;
  });

  const shown = commits.map(classify).filter((each) => input.internal || each.kind !== "internal" || each.breaking);
  const sections = SECTIONS
    .map(({ key, title }) => ({ key, title, changes: shown.filter((each) => (each.breaking ? "breaking" : each.kind) === key) }))
    .filter((section) => section.changes.length > 0);

  const opening = await station.step("Phrase the opening", () => phraseOpening(input, sections, station));

  const contributors = [...new Set(commits.map((each) => each.author).filter(Boolean))].sort((a, b) => a.localeCompare(b));
  const markdown = writeMarkdown({ ...input, date, opening, sections, contributors });
  await station.artifacts.put("RELEASE_NOTES.md", markdown);

  return {
    headline: opening.headline,
    summary: opening.summary,
    phrasedBy: opening.by,
    commits: commits.length,
    sections: Object.fromEntries(sections.map(({ key, changes }) => [key, changes.map(({ text, scope, refs }) => ({ text, scope, refs }))])),
    contributors,
    markdown,
  };
}

/** Commits, newest first, from `git log` or `git log --oneline`. */
function readLog(log) {
  const lines = log.replaceAll("\r\n", "\n").split("\n");
  return lines.some((line) => /^commit [0-9a-f]{7,40}\b/.test(line)) ? readFull(lines) : readOneline(lines);
}

function readFull(lines) {
  const commits = [];
  for (const line of lines) {
    const start = /^commit ([0-9a-f]{7,40})\b/.exec(line);
    const last = commits.at(-1);
    if (start) commits.push({ hash: start[1], author: "", subject: "", body: [] });
    else if (!last) continue;
    else if (line.trim() === "") last.body.push("");
    else if (line.startsWith("Author:")) last.author = line.slice(7).replace(/<.*>/, "").trim();
    else if (line.startsWith("    ")) {
      if (last.subject === "") last.subject = line.trim();
      else last.body.push(line.trim());
    }
  }
  return commits.filter((each) => each.subject !== "" && !each.subject.startsWith("Merge "));
}

function readOneline(lines) {
  return lines
    .map((line) => /^[*|\\/ ]*([0-9a-f]{7,40})\s+(?:\([^)]*\)\s+)?(.+)$/.exec(line))
    .filter((found) => found && !found[2].startsWith("Merge "))
    .map(([, hash, subject]) => ({ hash, author: "", subject: subject.trim(), body: [] }));
}

/** Leaves out what a later commit took back, together with the commit that did. */
function withoutReverted(commits) {
  const gone = new Set();
  for (const commit of commits) {
    if (gone.has(commit)) continue;
    const hash = /This reverts commit ([0-9a-f]{7,40})/.exec(commit.body.join("\n"))?.[1];
    const subject = /^Revert "(.+)"$/.exec(commit.subject)?.[1];
    if (!hash && !subject) continue;
    const target = commits.find((each) => each !== commit && (hash ? each.hash.startsWith(hash) || hash.startsWith(each.hash) : each.subject === subject));
    if (target) gone.add(target).add(commit);
  }
  return commits.filter((each) => !gone.has(each));
}

function classify(commit) {
  const conventional = /^(\w+)(?:\(([^)]+)\))?(!)?:\s+(.+)$/.exec(commit.subject);
  const known = conventional && TYPES[conventional[1].toLowerCase()];
  const told = known ? conventional[4] : commit.subject;
  const note = /(?:^|\n)BREAKING[ -]CHANGE:\s*([\s\S]+?)(?:\n\n|$)/.exec(commit.body.join("\n"))?.[1];
  const refs = [...commit.subject.matchAll(/#(\d+)/g), ...commit.body.join("\n").matchAll(/(?:closes|fixes|refs?):?\s+#(\d+)/gi)].map((found) => `#${found[1]}`);
  const text = told.replace(/\s*\((?:#\d+(?:,\s*)?)+\)\s*$/, "").replace(/\.$/, "");
  return {
    kind: known ?? VERBS.find(([verb]) => verb.test(told))?.[1] ?? "internal",
    scope: known ? conventional[2] ?? null : null,
    breaking: Boolean((known && conventional[3]) || note),
    text: text.charAt(0).toUpperCase() + text.slice(1),
    note: note?.trim().replaceAll("\n", " ") ?? null,
    refs: [...new Set(refs)],
  };
}

async function phraseOpening(input, sections, station) {
  const count = ({ changes, key }) => `${changes.length} ${{ breaking: "breaking change", feature: "new feature", fix: "fix", performance: "speed-up", docs: "documentation change", internal: "internal change" }[key]}${changes.length === 1 ? "" : key === "fix" ? "es" : "s"}`;
  const counts = joined(sections.map(count)) || "maintenance only";
  const lead = sections.find((each) => each.key === "feature") ?? sections[0];
  const leading = lead?.changes[0]?.text ?? "Maintenance";
  const fallback = {
    headline: `${input.project} ${input.version}`,
    summary: `This release has ${counts}. It begins with: ${leading}.`,
    by: "the agent",
  };
  try {
    const reply = await station.models.chat({
      messages: [
        { role: "system", content: "You write the opening of release notes. Plain words, no marketing, nothing that is not in the facts. Answer with JSON: headline (at most 12 words) and summary (two or three sentences)." },
        {
          role: "user",
          content: [
            `Project: ${fact(input.project)}`, `Version: ${fact(input.version)}`, `Counts: ${counts}`, `Leading change: ${fact(leading)}`, "Changes:",
            ...sections.flatMap(({ title, changes }) => changes.map((each) => `- ${title}: ${fact(each.text)}`)),
          ].join("\n"),
        },
      ],
      responseSchema: OPENING,
      maxOutputTokens: 400,
    });
    const { headline, summary } = reply.json ?? {};
    if (typeof headline === "string" && headline.trim() && typeof summary === "string" && summary.trim()) {
      return { headline: headline.trim(), summary: summary.trim(), by: reply.model };
    }
    station.timeline.warn("The model's answer was not usable; the agent wrote the opening itself");
  } catch (error) {
    if (!(error instanceof StationError) || error.code === "budget_exhausted") throw error;
    station.timeline.warn("No model; the agent wrote the opening itself", { code: error.code, message: error.message });
  }
  return fallback;
}

function writeMarkdown({ project, version, date, opening, sections, contributors }) {
  const lines = [`# ${project} ${version}`, "", `*${date}*`, "", `**${opening.headline}**`, "", opening.summary, ""];
  for (const { title, changes } of sections) {
    lines.push(`## ${title}`, "");
    for (const { scope, text, note, refs } of changes) {
      lines.push(`- ${scope ? `**${scope}:** ` : ""}${text}${refs.length ? ` (${refs.join(", ")})` : ""}`);
      if (note) lines.push(`  ${note}`);
    }
    lines.push("");
  }
  if (contributors.length) lines.push("## Thanks", "", `${joined(contributors)}.`, "");
  return lines.join("\n");
}

/** One line for a prompt. */
function fact(text) {
  return text.replaceAll(/["\\]/g, "'").replaceAll(/\s+/g, " ").trim();
}

function joined(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

function countBy(items, key) {
  const counts = {};
  for (const item of items) counts[key(item) || "unknown"] = (counts[key(item) || "unknown"] ?? 0) + 1;
  return counts;
}
