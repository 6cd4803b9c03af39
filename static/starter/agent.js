// A first agent: it measures a text and writes a report.
// `input` is what the run was given, `station` is everything it may use.

export default async function run(input, station) {
  const text = input.text ?? '';

  const words = await station.step('Count the words', () => {
    const found = text.toLowerCase().match(/\p{L}+/gu) ?? [];
    console.log(`found ${found.length} words`);
    return found;
  });

  const top = await station.step('Find the most frequent', () => {
    const counts = new Map();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]).slice(0, input.top ?? 5);
  });

  await station.step('Write the report', async () => {
    const rows = top.map(([word, n]) => `| ${word} | ${n} |`);
    const report = [`# ${words.length} words`, '', '| word | times |', '|---|---|', ...rows, ''].join('\n');
    await station.artifacts.put('report.md', report, 'text/markdown');
  });

  // What is returned is the run's output.
  return { words: words.length, top: top.map(([word, times]) => ({ word, times })) };
}

// To ask a model, add `models = ["default"]` under [capabilities] in agent.toml and write:
//   const reply = await station.models.chat({
//     model: 'default',
//     messages: [{ role: 'user', content: `Sum this up in a sentence: ${text}` }],
//   });
//   reply.content
//
// A model with tools, asked until it has an answer; name the tools under [capabilities] too, tools = ["calculator"]:
//   const result = await station.models.runTools({
//     instructions: 'You compare texts.', input: text, tools: ['calculator'], maxTurns: 6, maxCostMicros: 100_000,
//   });
//   result.output
