// The status page: asks `status.json` once a second and draws what Shape makes of the answers. What the
// daemon or a client wrote gets into the page as text only.
"use strict";

(() => {
  const POLL_MS = 1000;
  const PATIENCE_MS = 4000;
  const BACKOFF_MS_MAX = 10000;
  const HISTORY_SECONDS = 3600;
  const POINTS_MAX = HISTORY_SECONDS + 120;

  const { write } = Shape;
  const byId = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);

  function make(tag, inside, attributes = {}) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...[inside].flat());
    return element;
  }

  // Writes only what has changed, so that nothing is laid out for nothing.
  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Series are [name, its word, colour, dashed].
  const CHARTS = [
    { title: "Requests", unit: "per second", as: "count", series: [["get", "get", "blue"], ["set", "set", "orange"],
      ["delete", "delete", "green"], ["arith", "incr, decr", "purple"], ["touch", "touch", "amber"]] },
    { title: "Hit ratio", unit: "of gets", as: "percent", most: 100, series: [["hit", "hits", "green"]] },
    { title: "Latency", unit: "in the server, logarithmic", as: "seconds", log: true, series: [["get50", "get p50", "blue"],
      ["get99", "get p99", "blue", true], ["set50", "set p50", "orange"], ["set99", "set p99", "orange", true]] },
    { title: "Disk", unit: "bytes", as: "bytes", series: [["items", "items", "blue"], ["file", "file", "orange"]],
      limit: ["budget", "--max-disk"] },
    { title: "Write-ahead log", unit: "bytes", as: "bytes", series: [["wal", "log", "purple"]], limit: ["walMax", "--wal-max"] },
    { title: "Memory", unit: "bytes", as: "bytes", series: [["resident", "process", "orange"], ["tier", "memory tier", "blue"],
      ["held", "held for clients", "green"]], limit: ["tierMax", "-m"] },
    { title: "Evicted and expired", unit: "items per second", as: "count", series: [["evicted", "evicted", "orange"],
      ["expired", "expired, flushed", "blue", true]] },
    { title: "Clients", unit: "connections", as: "whole", series: [["clients", "connected", "blue"]], limit: ["clientsMax", "-c"] },
    { title: "Network", unit: "bytes per second", as: "rate", series: [["received", "received", "green"], ["sent", "sent", "blue"]] },
  ];
  const NAMES = CHARTS.flatMap((chart) => [...chart.series.map(([name]) => name), ...(chart.limit ? [chart.limit[0]] : [])]);

  // One array of times, one of each figure, of equal length.
  const history = { time: [], of: Object.fromEntries(NAMES.map((name) => [name, []])) };
  // `at`: the time that is read, null for now. `isHeld`: keys led there, and it stays while time goes on.
  // `over`: the chart that the mouse is over; what is read is what comes by below it.
  const view = { range: 300, pausedAt: null, at: null, isHeld: false, over: null };
  let last = null;
  let lastPoint = null;

  const end = () => view.pausedAt ?? Math.max(Date.now() / 1000, history.time.at(-1) ?? 0);
  // The last place in the history that is in view: what came in during a pause is not.
  const newest = () => history.time.findLastIndex((time) => time <= end());

  function append(time, point) {
    history.time.push(time);
    for (const name of NAMES) history.of[name].push(point === null ? null : point[name] ?? null);
    const surplus = history.time.length - POINTS_MAX;
    if (surplus > 0) for (const column of [history.time, ...Object.values(history.of)]) column.splice(0, surplus);
  }

  function remember(answer) {
    let now = Date.now() / 1000;
    const newest = history.time.at(-1);
    if (newest !== undefined) {
      // Somebody has set the clock back: what was drawn has no place any more.
      if (now < newest - Shape.GAP_SECONDS) for (const column of [history.time, ...Object.values(history.of)]) column.length = 0;
      else if (now <= newest) now = newest + 0.001;
      // A point without figures ends the lines before a gap.
      if (now - newest > Shape.GAP_SECONDS) append(newest + 0.001, null);
    }
    lastPoint = Shape.point(last, answer);
    append(now, lastPoint);
  }

  // The tiles.
  const tiles = {};
  function tile(name, word, hasBar) {
    const big = make("dd", [], { class: "big", id: "tile-" + name });
    const bar = make("span", []);
    const more = make("dd", "", { class: "more" });
    const holder = make("dd", bar, { class: hasBar ? "bar" : "bar none", "aria-hidden": "true" });
    byId("tiles").append(make("div", [make("dt", word), big, holder, more]));
    tiles[name] = { big, bar, more };
  }
  [["requests", "Requests"], ["hits", "Hit ratio"], ["get", "Get, p99"], ["set", "Set, p99"], ["items", "Items", true],
    ["wal", "Write-ahead log", true], ["tier", "Memory tier", true], ["clients", "Clients", true]].forEach((row) => tile(...row));

  function fill(name, text, unit, more, part = null) {
    const { big, bar, more: line } = tiles[name];
    const key = text + unit;
    if (big.dataset.key !== key) {
      big.dataset.key = key;
      big.replaceChildren(text, ...(unit ? [make("small", unit)] : []));
    }
    say(line, more);
    line.title = more;
    bar.style.width = part === null ? "0" : Math.min(100, 100 * part).toFixed(1) + "%";
    bar.dataset.full = part === null || part < 0.8 ? "some" : part < 0.95 ? "most" : "all";
  }

  const of = (used, limit, as) => (limit ? `${write.percent((100 * used) / limit)} of ${as(limit)}` : "no limit");

  function fillTiles(answer, point) {
    const { stats } = answer;
    const split = (text) => [text.replace(/ .*$/, ""), text.includes(" ") ? text.replace(/^[^ ]* /, "") : ""];
    fill("requests", ...split(write.count(point.all) + "/s"), `processor ${write.percent(point.cpu)}`);
    fill("hits", ...split(write.percent(point.hit)), `overall ${write.percent(
      stats.get_hits + stats.get_misses > 0 ? (100 * stats.get_hits) / (stats.get_hits + stats.get_misses) : null)}`);
    fill("get", ...split(write.seconds(point.get99)), `p50 ${write.seconds(point.get50)}`);
    fill("set", ...split(write.seconds(point.set99)), `p50 ${write.seconds(point.set50)}`);
    const full = Math.max(point.budget ? point.items / point.budget : 0, answer.items_max ? stats.curr_items / answer.items_max : 0);
    const limited = point.budget || answer.items_max ? full : null;
    fill("items", write.whole(stats.curr_items), "", point.budget ? of(point.items, point.budget, write.bytes) : write.bytes(point.items), limited);
    fill("wal", ...split(write.bytes(point.wal)), of(point.wal, point.walMax, write.bytes), point.walMax && point.wal / point.walMax);
    const tier = point.tierMax ? of(point.tier, point.tierMax, write.bytes) : "off: -m 0";
    fill("tier", ...split(write.bytes(point.tier)), tier, point.tierMax && point.tier / point.tierMax);
    fill("clients", write.whole(point.clients), "", of(point.clients, point.clientsMax, write.whole),
      point.clients / point.clientsMax);
  }

  // The charts.
  const drawn = CHARTS.map((chart, number) => {
    const at = make("span", "", { class: "at" });
    const title = make("h3", chart.title, { id: "chart-" + number });
    const plot = make("div", [], { class: "plot", tabindex: "0", role: "img", "aria-describedby": `legend-${number} how`,
      "aria-labelledby": "chart-" + number });
    const legend = make("dl", [], { class: "legend", id: "legend-" + number });
    const values = chart.series.map(([, word, ink, dashed]) => {
      const value = make("dd", Shape.NONE);
      const term = make("dt", word);
      term.style.setProperty("--of", `var(--${ink})`);
      if (dashed) term.style.setProperty("--dash", "dotted");
      legend.append(make("div", [term, value]));
      return value;
    });
    if (chart.limit) {
      const value = make("dd", Shape.NONE);
      const term = make("dt", "limit " + chart.limit[1]);
      term.style.setProperty("--of", "var(--grey)");
      term.style.setProperty("--dash", "dashed");
      legend.append(make("div", [term, value]));
      values.push(value);
    }
    byId("charts").append(make("figure", [make("figcaption", [title, make("span", chart.unit, { class: "unit" }), at]), plot, legend],
      { "aria-labelledby": "chart-" + number }));
    const names = [...chart.series.map(([name]) => name), ...(chart.limit ? [chart.limit[0]] : [])];
    return { chart, plot, at, values, names, top: 0, u: null };
  });

  // The greatest of what is in view.
  function most(names) {
    const from = end() - view.range;
    let found = 0;
    for (let i = newest(); i >= 0 && history.time[i] >= from; i--)
      for (const name of names) found = Math.max(found, history.of[name][i] ?? 0);
    return found;
  }

  function yRange(d) {
    const { chart } = d;
    if (chart.most) return [0, chart.most];
    if (chart.log) {
      const highest = most(d.names);
      const exponent = Math.max(-4, Math.ceil(Math.log10(Math.max(highest, 1e-9))));
      return [1e-7, Math.pow(10, exponent)];
    }
    const bytes = chart.as === "bytes" || chart.as === "rate";
    const used = most(chart.series.map(([name]) => name));
    const limit = chart.limit ? history.of[chart.limit[0]].at(-1) : null;
    // A limit that is far away would press what is drawn to the ground: then it stands in the legend.
    const wanted = limit && limit <= 3 * used ? Math.max(limit, used) : used;
    d.top = Shape.top(Math.max(wanted, bytes ? 1024 : 4), d.top, bytes ? 1024 : 1000);
    return [0, d.top];
  }

  const POWERS = Array.from({ length: 60 }, (_, i) => Math.pow(2, i));

  function options(d) {
    const { chart } = d;
    const size = { width: Math.max(d.plot.clientWidth, 120), height: d.plot.clientHeight };
    const text = write[chart.as];
    const powersOnly = (u, ticks) => ticks.map((tick) => (Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-6 ? tick : null));
    const axis = { stroke: () => colour("quiet"), font: "11px system-ui, sans-serif", ticks: { show: false },
      grid: { stroke: () => colour("grid"), width: 1 } };
    const series = chart.series.map(([, , ink, dashed], i) => ({
      stroke: () => colour(ink), width: 1.75, dash: dashed ? [2, 4] : undefined, points: { show: false }, spanGaps: false,
      fill: i === 0 && !chart.log ? () => colour(ink) + "1c" : undefined,
    }));
    if (chart.limit) series.push({ stroke: () => colour("grey"), width: 1.25, dash: [6, 5], points: { show: false } });
    return {
      ...size, legend: { show: false }, padding: [8, 26, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true, range: () => [end() - view.range, end()] },
        y: { range: () => yRange(d), ...(chart.log ? { distr: 3, log: 10 } : {}) } },
      series: [{}, ...series],
      axes: [
        { ...axis, space: 70, size: 24, values: (u, ticks) => ticks.map((t) => clock(t).slice(0, view.range < 300 ? 8 : 5)),
          incrs: [10, 15, 30, 60, 120, 300, 600, 900, 1800] },
        { ...axis, size: 62, space: 32,
          ...(chart.log
            ? { filter: powersOnly, grid: { ...axis.grid, filter: powersOnly } }
            : chart.as === "bytes" || chart.as === "rate" ? { incrs: POWERS } : {}),
          values: (u, ticks) => ticks.map((t) => (t === null ? null : write.step(text(t)))) },
      ],
      hooks: { setCursor: [(u) => pointed(d, u)] },
    };
  }

  const columns = (d) => [history.time, ...d.names.map((name) => history.of[name])];

  function build() {
    for (const d of drawn) {
      d.u?.destroy();
      d.u = new uPlot(options(d), columns(d), d.plot);
    }
  }

  let isPointing = false;
  // One cursor for all charts.
  function pointed(from, u) {
    if (isPointing || view.isHeld) return;
    view.over = u.cursor.left >= 0 ? from : null;
    view.at = view.over && (history.time[u.cursor.idx] ?? null);
    pointAll(from);
  }

  function pointAll(except) {
    isPointing = true;
    for (const d of drawn) {
      if (d === except || !d.u) continue;
      const left = view.at === null ? -10 : d.u.valToPos(view.at, "x");
      d.u.setCursor({ left, top: view.at === null ? -10 : 0 });
    }
    isPointing = false;
    fillLegends();
  }

  function place() {
    const found = view.at === null ? -1 : history.time.lastIndexOf(view.at);
    return found < 0 ? newest() : found;
  }

  function fillLegends() {
    const when = view.at === null ? "" : "at " + clock(view.at);
    const here = place();
    for (const d of drawn) {
      say(d.at, when);
      d.names.forEach((name, i) => say(d.values[i], write[d.chart.as](history.of[name][here])));
    }
  }

  function step(d, by) {
    const first = history.time.findIndex((time) => time >= end() - view.range);
    if (first < 0) return;
    view.isHeld = true;
    view.at = history.time[Math.min(newest(), Math.max(first, place() + by))];
    pointAll(null);
    const words = d.names.map((name, i) => `${[...d.chart.series.map(([, word]) => word), "limit"][i]} ${d.values[i].textContent}`);
    say(byId("read"), `${clock(view.at)}: ${words.join(", ")}`);
  }

  function letGo() {
    view.isHeld = false;
    view.at = null;
    pointAll(null);
  }

  for (const d of drawn) {
    d.plot.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -POINTS_MAX, End: POINTS_MAX }[event.key];
      if (event.key === "Escape") letGo();
      else if (by && !event.ctrlKey && !event.altKey && !event.metaKey) step(d, by);
      else return;
      event.preventDefault();
    });
    d.plot.addEventListener("blur", letGo);
    // Before uPlot hears of it: whoever moves the mouse reads what is below it.
    d.plot.addEventListener("mousemove", () => (view.isHeld = false), { capture: true });
    new ResizeObserver(() => d.u?.setSize({ width: Math.max(d.plot.clientWidth, 120), height: d.plot.clientHeight })).observe(d.plot);
  }
  // A change of colours or of the screen's resolution.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((d) => d.u?.redraw(false, true)));

  function draw() {
    if (document.hidden) return;
    // At once, or the places in it would be those from before; and all of them before anything is read.
    isPointing = true;
    for (const d of drawn) d.u.batch(() => d.u.setData(columns(d)));
    isPointing = false;
    if (view.isHeld) pointAll(null);
    else if (view.over) pointed(view.over, view.over.u);
    else fillLegends();
    if (byId("numbers").open) fillNumbers();
  }

  // The tables.
  function rows(body, lines) {
    while (body.rows.length > lines.length) body.deleteRow(-1);
    lines.forEach((cells, y) => {
      const row = body.rows[y] ?? body.insertRow();
      cells.forEach((text, x) => {
        if (!row.cells[x]) row.append(x === 0 ? make("th", "", { scope: "row" }) : make("td", ""));
        say(row.cells[x], text);
      });
    });
  }

  function fillNumbers() {
    const from = end() - view.range;
    const first = history.time.findIndex((time) => time >= from);
    const lines = CHARTS.flatMap((chart) => chart.series.map(([name, word]) => {
      const seen = first < 0 ? [] : history.of[name].slice(first, newest() + 1).filter((value) => value !== null);
      const text = (value) => write[chart.as](seen.length ? value() : null);
      return [`${chart.title}: ${word}`, write[chart.as](history.of[name][newest()]), text(() => Math.min(...seen)),
        text(() => seen.reduce((a, b) => a + b, 0) / seen.length), text(() => Math.max(...seen))];
    }));
    rows(byId("numbers").querySelector("tbody"), lines);
  }

  const KINDS = ["get", "set", "delete", "incr", "touch", "flush_all", "other", "commit", "sync", "checkpoint"];
  function fillLatency({ latency }) {
    const time = (kind, part) => write.seconds(latency[kind + ":count"] ? latency[`${kind}:${part}_us`] / 1e6 : null);
    const seen = KINDS.filter((kind) => latency[kind + ":count"] > 0);
    rows(byId("latency").tBodies[0], seen.map((kind) => [kind === "incr" ? "incr, decr" : kind,
      write.whole(latency[kind + ":count"]), ...["p50", "p99", "p999", "max"].map((part) => time(kind, part))]));
  }

  function fillPrefixes(before, answer) {
    const list = Shape.prefixes(before, answer);
    const why = answer.prefixes === "off" ? "Not counted: litecached -D, or the command stats detail on, begins to."
      : answer.prefixes === "withheld" ? "Not shown where -X refuses them, or where clients log in."
      : list.length ? "" : "No key with a prefix so far.";
    say(byId("prefixes-none"), why);
    byId("prefixes").parentElement.hidden = list.length === 0;
    rows(byId("prefixes").tBodies[0], list.map((row) => [write.name(row.prefix), write.count(row.rate),
      write.percent(row.ratio), ...[row.get, row.set, row.del].map(write.whole)]));
    // A long one is cut.
    for (const { cells: [name] } of byId("prefixes").tBodies[0].rows) if (name.title !== name.textContent) name.title = name.textContent;
  }

  function fillStats({ stats, storage }) {
    const list = byId("stats").querySelector("dl");
    const all = Object.entries({ ...stats, ...storage });
    while (list.children.length > all.length) list.lastChild.remove();
    all.forEach(([name, value], i) => {
      const row = list.children[i] ?? list.appendChild(make("div", [make("dt", ""), make("dd", "")]));
      say(row.children[0], name);
      say(row.children[1], String(value));
    });
  }

  // Asking.
  let lostSince = null;
  let failures = 0;
  let timer = null;
  let asking = false;

  function state(kind, text) {
    const element = byId("state");
    element.dataset.state = kind;
    say(element, text);
    document.body.toggleAttribute("data-lost", kind === "bad");
    document.title = `${kind === "bad" ? "No answer – " : kind === "warn" ? "Trouble – " : ""}litecached ${location.host}`;
  }

  function show(before, answer) {
    say(byId("who"), `${location.host} · ${answer.stats.version} · up ${write.span(answer.stats.uptime)}`);
    fillTiles(answer, lastPoint);
    fillLatency(answer);
    fillPrefixes(before, answer);
    if (byId("stats").open) fillStats(answer);
    draw();
  }

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const begun = performance.now();
    try {
      const reply = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!reply.ok) throw new Error(reply.statusText);
      const answer = await reply.json();
      const before = last;
      remember(answer);
      last = answer;
      [lostSince, failures] = [null, 0];
      state(answer.trouble === null ? "good" : "warn", answer.trouble === null ? "Serving" : "Not ready: " + answer.trouble);
      if (view.pausedAt === null) show(before, answer);
    } catch {
      failures += 1;
      lostSince ??= history.time.at(-1) ?? Date.now() / 1000;
      state("bad", `No answer from the daemon since ${clock(lostSince)}`);
      if (view.pausedAt === null) draw();
    }
    asking = false;
    const pause = failures === 0 ? POLL_MS : Math.min(BACKOFF_MS_MAX, POLL_MS * 2 ** (failures - 1));
    timer = setTimeout(ask, Math.max(50, pause - (performance.now() - begun)));
  }

  byId("controls").addEventListener("change", (event) => {
    view.range = Number(event.target.value);
    drawn.forEach((d) => (d.top = 0));
    draw();
  });
  byId("pause").addEventListener("click", () => {
    view.pausedAt = view.pausedAt === null ? end() : null;
    byId("pause").setAttribute("aria-pressed", String(view.pausedAt !== null));
    say(byId("pause"), view.pausedAt === null ? "Pause" : "Go on");
    if (view.pausedAt === null && last) show(null, last);
  });
  byId("stats").addEventListener("toggle", () => last && fillStats(last));
  byId("numbers").addEventListener("toggle", fillNumbers);
  // A tab that slept asks at once when it is looked at.
  document.addEventListener("visibilitychange", () => !document.hidden && ask());
  addEventListener("online", ask);

  build();
  ask();
})();
