// What is drawn, made from what the daemon said. Knows no page and no clock: two answers in, one point
// out. A rate is the difference of a counter over the time between two answers by the daemon's own clock;
// where a counter went back (a restart, `stats reset`) or the answers lie far apart there is none.
"use strict";

const Shape = (() => {
  // Answers further apart than this have a gap between them: the tab slept, or the daemon was away.
  const GAP_SECONDS = 5;

  const sum = (stats, names) => names.reduce((all, name) => all + (stats[name] ?? 0), 0);

  // What is charted per second, by the counters of `stats` that make it up.
  const RATES = {
    get: ["cmd_get"],
    set: ["cmd_set"],
    delete: ["delete_hits", "delete_misses"],
    arith: ["incr_hits", "incr_misses", "decr_hits", "decr_misses"],
    touch: ["cmd_touch"],
    evicted: ["evictions"],
    expired: ["reclaimed"],
    received: ["bytes_read"],
    sent: ["bytes_written"],
  };

  // What is charted as it is. Of what has no limit the limit is null.
  function levels(answer) {
    const { stats, storage, process } = answer;
    return {
      items: stats.bytes,
      budget: stats.limit_maxbytes || null,
      file: storage.file_bytes,
      wal: storage.wal_bytes,
      walMax: storage.wal_bytes_max || null,
      tier: storage.memory_bytes,
      tierMax: storage.memory_bytes_max || null,
      resident: process.resident_bytes,
      held: process.held_bytes,
      clients: stats.curr_connections,
      clientsMax: stats.max_connections,
    };
  }

  // The time below which the part `q` of what is in the buckets lies, in seconds; within a bucket by the
  // logarithm, for buckets are three to a power of ten.
  function percentile(counts, bounds, q) {
    const all = counts.reduce((a, b) => a + b, 0);
    if (!(all > 0)) return null;
    let rest = q * all;
    for (let i = 0; i < counts.length; i++) {
      if (counts[i] > 0 && rest <= counts[i]) {
        const top = bounds[Math.min(i, bounds.length - 1)];
        const low = i > 0 ? bounds[i - 1] : top / 2.5;
        return (low * Math.pow(top / low, rest / counts[i])) / 1e9;
      }
      rest -= counts[i];
    }
    return bounds[bounds.length - 1] / 1e9;
  }

  // What came into each bucket; null where one has less than before.
  function came(before = [], after = []) {
    const counts = after.map((count, i) => count - (before[i] ?? 0));
    return before.length > after.length || counts.some((count) => count < 0) ? null : counts;
  }

  // Whether what is counted goes on from `before`.
  const goesOn = (before, after) =>
    before !== null &&
    before.stats.pid === after.stats.pid &&
    after.elapsed_ms > before.elapsed_ms &&
    Object.values(RATES).flat().every((name) => (after.stats[name] ?? 0) >= (before.stats[name] ?? 0));

  // The point between two answers.
  function point(before, after) {
    const made = levels(after);
    for (const name of Object.keys(RATES)) made[name] = null;
    Object.assign(made, { all: null, hit: null, cpu: null, get50: null, get99: null, set50: null, set99: null });
    if (!goesOn(before, after)) return made;
    const seconds = (after.elapsed_ms - before.elapsed_ms) / 1000;
    if (seconds > GAP_SECONDS) return made;
    const grown = (...names) => sum(after.stats, names) - sum(before.stats, names);
    for (const [name, counters] of Object.entries(RATES)) made[name] = grown(...counters) / seconds;
    made.all = made.get + made.set + made.delete + made.arith + made.touch;
    const hits = grown("get_hits");
    const gets = hits + grown("get_misses");
    made.hit = gets > 0 ? (100 * hits) / gets : null;
    made.cpu = (100 * grown("rusage_user", "rusage_system")) / seconds;
    for (const kind of ["get", "set"]) {
      const counts = came(before.buckets[kind], after.buckets[kind]);
      if (counts === null) continue;
      made[kind + "50"] = percentile(counts, after.bounds_nanos, 0.5);
      made[kind + "99"] = percentile(counts, after.bounds_nanos, 0.99);
    }
    return made;
  }

  // Key prefixes with what came between two answers, the busiest first.
  function prefixes(before, after) {
    if (!Array.isArray(after.prefixes)) return [];
    const old = new Map(before && Array.isArray(before.prefixes) ? before.prefixes.map((row) => [row.prefix, row]) : []);
    const seconds = before ? (after.elapsed_ms - before.elapsed_ms) / 1000 : 0;
    return after.prefixes.map((row) => {
      const was = old.get(row.prefix);
      const grown = was ? row.get - was.get + (row.set - was.set) + (row.del - was.del) : -1;
      const rate = seconds > 0 && grown >= 0 ? grown / seconds : null;
      return { ...row, rate, ratio: row.get > 0 ? (100 * row.hit) / row.get : null };
    });
  }

  // Three digits that count, so that a number keeps its width.
  const digits = (x) => (x < 9.995 ? x.toFixed(2) : x < 99.95 ? x.toFixed(1) : x.toFixed(0));

  function scaled(x, base, names) {
    let i = 0;
    while (i < names.length - 1 && x >= base * 0.9995) (x /= base), i++;
    return [x, names[i]];
  }

  const NONE = "–";
  const write = {
    count(x) {
      if (x === null || x === undefined) return NONE;
      if (x < 999.5) return Number.isInteger(x) || x >= 99.95 ? x.toFixed(0) : x.toFixed(1);
      const [value, name] = scaled(x, 1000, ["", "k", "M", "G", "T"]);
      return digits(value) + " " + name;
    },
    whole: (x) => (x === null || x === undefined ? NONE : x.toLocaleString("en")),
    bytes(x) {
      if (x === null || x === undefined) return NONE;
      const [value, name] = scaled(x, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
      return (name === "B" ? value.toFixed(0) : digits(value)) + " " + name;
    },
    rate: (x) => (x === null || x === undefined ? NONE : write.bytes(x) + "/s"),
    percent: (x) => (x === null || x === undefined ? NONE : (x >= 99.95 ? "100" : x.toFixed(1)) + " %"),
    seconds(x) {
      if (x === null || x === undefined) return NONE;
      if (x < 0.9995e-6) return (x * 1e9).toFixed(0) + " ns";
      const [value, name] = scaled(x * 1e6, 1000, ["µs", "ms", "s"]);
      return digits(value) + " " + name;
    },
    // What would not be seen, or would turn what follows it around, is escaped.
    name: (text) => text === "" ? "(empty)"
      : text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (it) => `\\u{${it.codePointAt(0).toString(16)}}`),
    // For the steps of an axis, which are round.
    step: (text) => text.replace(/\.0+(?= |$)/, "").replace(/(\.\d*?)0+(?= |$)/, "$1"),
    span(seconds) {
      const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
      const first = parts.findIndex(([size]) => seconds >= size);
      if (first < 0) return "0 s";
      return parts
        .slice(first, first + 2)
        .map(([size, name], i) => Math.floor((i ? seconds % parts[first][0] : seconds) / size) + " " + name)
        .join(" ");
    },
  };

  // The top of an axis that begins at zero: round, and kept until much less of it is needed.
  function top(most, before, base) {
    const round = (x) => {
      if (base === 1024) return Math.pow(2, Math.ceil(Math.log2(x)));
      const power = Math.pow(10, Math.floor(Math.log10(x)));
      return power * [1, 2, 5, 10].find((step) => x <= power * step * 1.0001);
    };
    const wanted = round(most);
    return before >= wanted && before <= 2.5 * wanted ? before : wanted;
  }

  return { GAP_SECONDS, point, percentile, came, prefixes, write, top, NONE };
})();
