// Sleeps, then leaves a note. The time of each reminder follows from the first, not from when the one before was left.

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LATE_MS = 5000;

export default async function run(input, station) {
  const every = readDuration(input.in ?? "1d");
  const begun = station.clock.now();
  const notes = [];
  const times = input.repeat ?? 1;
  for (let turn = 1; turn <= times; turn += 1) {
    const due = begun + turn * every;
    await station.clock.sleep(Math.max(0, due - station.clock.now()));
    const late = station.clock.now() - due;
    notes.push({ due: new Date(due).toISOString(), late: late > LATE_MS ? inWords(late) : null });
    await station.artifacts.put("reminder.md", write(input.text, notes));
    station.timeline.emit("reminder", { text: input.text, turn });
    if (times > 1) station.timeline.progress(turn, times, "reminders");
  }
  return { reminded: notes.length, notes };
}

function readDuration(text) {
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)\s*([smhd])/g)) total += Number(amount) * UNITS_MS[unit];
  if (total <= 0) throw new StationError(`“${text}” is no time to wait; write 90s, 45m, 8h or 3d`, { code: "invalid" });
  return total;
}

function inWords(ms) {
  const [unit, size] = Object.entries(UNITS_MS).reverse().find(([, size]) => ms >= size);
  return `${Math.round(ms / size)} ${unit}`;
}

function write(text, notes) {
  return `${text}\n\n${notes.map(({ due, late }) => `- ${due}${late ? `, ${late} late` : ""}`).join("\n")}\n`;
}
