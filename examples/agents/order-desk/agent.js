// Places orders. What is small and goes to a known supplier is placed at once; for the rest a person decides, who may
// change the quantities. Sums are counted in cents, because 0.1 + 0.2 is not 0.3.

const DAY_MS = 24 * 60 * 60 * 1000;
const LINE = /^\s*(\d{1,6})\s*[x×]\s*(.+?)\s*@\s*(\d{1,7})(?:[.,](\d{2}))?\s*$/;

export default async function run(input, station) {
  const wanted = await station.step("Read the order", () => readLines(input.lines));
  const total = sum(wanted);
  const known = await station.memory.get(supplierKey(input.supplier));
  const reasons = [];
  if (total > cents(input.limit ?? 500)) reasons.push(`it is above ${money(cents(input.limit ?? 500))}`);
  if (!known) reasons.push(`it would be the first order at ${input.supplier}`);

  let items = wanted;
  let decision = null;
  if (reasons.length > 0) {
    decision = await station.step("Ask a person", () => ask(input, wanted, reasons, station));
    station.timeline.info(`${decision.verb} by ${decision.by || "time"}`, { reason: decision.reason });
    if (!decision.approved) return { placed: false, total: money(total), reason: decision.reason || "nobody decided in time" };
    items = decision.verb === "edit" ? readEdited(decision.arguments, wanted) : wanted;
  }

  return station.step("Place the order", () => place(input, items, decision, station));
}

function readLines(lines) {
  const items = [];
  for (const [at, line] of lines.split("\n").entries()) {
    if (line.trim() === "") continue;
    const found = LINE.exec(line);
    if (!found) throw new StationError(`line ${at + 1} is not like “4 x Desk lamp @ 39.90”: ${line.trim()}`, { code: "invalid" });
    const [, quantity, name, whole, part = "00"] = found;
    if (items.some((item) => item.name === name)) throw new StationError(`${name} is on two lines; put it on one`, { code: "invalid" });
    items.push({ quantity: Number(quantity), name, each: Number(whole) * 100 + Number(part) });
  }
  if (sum(items) === 0) throw new StationError("the order has nothing in it", { code: "invalid" });
  return items;
}

function ask(input, items, reasons, station) {
  const lines = items.map(({ quantity, name, each }) => `- ${quantity} × ${name} at ${money(each)}, together ${money(quantity * each)}`);
  return station.approvals.request({
    action: "place-order",
    arguments: { supplier: input.supplier, quantities: Object.fromEntries(items.map(({ name, quantity }) => [name, quantity])) },
    reason: [
      `**${money(sum(items))} at ${input.supplier}**${input.requestedBy ? `, wanted by ${input.requestedBy}` : ""}. You are asked because ${reasons.join(" and ")}.`,
      "", ...lines,
    ].join("\n"),
    verbs: ["approve", "edit", "deny"],
    timeoutMs: 3 * DAY_MS,
    onTimeout: "deny",
  });
}

/** A person edits quantities; prices and names are not theirs to change here. */
function readEdited({ quantities }, wanted) {
  const items = wanted.map((item) => ({ ...item, quantity: quantities?.[item.name] ?? 0 })).filter(({ quantity }) => quantity !== 0);
  const strange = Object.keys(quantities ?? {}).filter((name) => !wanted.some((item) => item.name === name));
  const odd = items.filter(({ quantity }) => !Number.isInteger(quantity) || quantity < 0).map(({ name }) => name);
  if (strange.length + odd.length > 0 || items.length === 0) {
    throw new StationError(`the edited order cannot be placed: ${[...strange, ...odd].join(", ") || "nothing is left of it"}`, { code: "invalid" });
  }
  return items;
}

async function place(input, items, decision, station) {
  const order = {
    supplier: input.supplier,
    placedAt: new Date().toISOString(),
    approvedBy: decision?.by ?? null,
    items: items.map(({ quantity, name, each }) => ({ quantity, name, each: money(each) })),
    total: money(sum(items)),
  };
  await station.artifacts.put("order.json", order);
  if (decision) await station.memory.put(supplierKey(input.supplier), { approvedBy: decision.by, atMs: station.clock.now() });
  return { placed: true, total: order.total, approvedBy: order.approvedBy, items: order.items.length };
}

const supplierKey = (supplier) => `supplier/${supplier.trim().toLowerCase().slice(0, 80)}`;
const sum = (items) => items.reduce((total, { quantity, each }) => total + quantity * each, 0);
const cents = (amount) => Math.round(amount * 100);
const money = (amount) => `${Math.floor(amount / 100)}.${String(amount % 100).padStart(2, "0")}`;
