// Counts primes with a segmented sieve: little memory however far it goes, so that fuel is what ends it.

const SEGMENT = 1 << 18;

export default async function run({ limit }, station) {
  const roots = await station.step("Small primes", () => smallPrimes(Math.floor(Math.sqrt(limit))));
  station.timeline.info(`Sieving to ${limit} by the ${roots.length} primes up to its root`);

  const found = { count: limit >= 2 ? 1 : 0, last: 2, gap: 0, gapAfter: 2, twins: 0 };
  await station.step("Sieve", () => {
    for (let from = 3; from <= limit; from += 2 * SEGMENT) {
      const to = Math.min(limit, from + 2 * SEGMENT - 2);
      sieve(from, to, roots, found);
      station.timeline.progress(to, limit, `${found.count} primes so far`);
    }
  });
  return {
    limit,
    primes: found.count,
    largest: found.last,
    twins: found.twins,
    widestGap: { size: found.gap, after: found.gapAfter },
    expected: Math.round(limit / Math.log(limit)),
  };
}

function smallPrimes(limit) {
  const composite = new Uint8Array(limit + 1);
  const primes = [];
  for (let n = 3; n <= limit; n += 2) {
    if (composite[n]) continue;
    primes.push(n);
    for (let multiple = n * n; multiple <= limit; multiple += 2 * n) composite[multiple] = 1;
  }
  return primes;
}

/** The odd numbers from `from` to `to`; index i stands for from + 2 i. */
function sieve(from, to, roots, found) {
  const size = ((to - from) >> 1) + 1;
  const composite = new Uint8Array(size);
  for (const prime of roots) {
    const square = prime * prime;
    if (square > to) break;
    let first = square;
    if (first < from) {
      first = Math.ceil(from / prime) * prime;
      if (first % 2 === 0) first += prime;
    }
    for (let at = (first - from) / 2; at < size; at += prime) composite[at] = 1;
  }
  for (let at = composite.indexOf(0); at >= 0; at = composite.indexOf(0, at + 1)) {
    const prime = from + 2 * at;
    const gap = prime - found.last;
    if (gap === 2) found.twins += 1;
    if (gap > found.gap) [found.gap, found.gapAfter] = [gap, found.last];
    found.count += 1;
    found.last = prime;
  }
}
