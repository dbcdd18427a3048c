// The status page in headless Chromium, beside a client that loads the cache and asks for `stats`.
//
//   node status_page.js HTTP_PORT CACHE_PORT FOLDER     pictures go to the folder

"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const readline = require("node:readline");
const { setTimeout: pause } = require("node:timers/promises");
const { chromium } = require("playwright-core");

const [httpPort, cachePort, folder] = process.argv.slice(2);
const places = process.env.PATH.split(":").map((place) => path.join(place, "chromium"));
const executablePath = places.find((place) => fs.existsSync(place));
const origin = `http://127.0.0.1:${httpPort}`;
const PATIENCE_MS = 60_000;

// Asks until the answer is true.
async function until(what, probe) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `in vain: ${what}`);
    await pause(50);
  }
}

const socket = net.connect(Number(cachePort), "127.0.0.1");
const lines = readline.createInterface({ input: socket })[Symbol.asyncIterator]();
const line = async () => (await lines.next()).value;

async function round(number) {
  const key = `${number % 3 ? "user" : "cart"}:${number % 40}`;
  socket.write(`set ${key} 0 0 5\r\nvalue\r\nget ${key}\r\nget missing:${number}\r\ndelete cart:0\r\n`);
  for (let answers = 0; answers < 6; answers++) await line();
}

async function stats() {
  socket.write("stats\r\n");
  const found = {};
  for (;;) {
    const text = await line();
    if (text === "END") return found;
    const [, name, ...value] = text.split(" ");
    found[name] = value.join(" ");
  }
}

// Shape's own rules, in the browser that runs it.
function shapes() {
  const answer = (elapsed_ms, gets, more = {}) => ({
    elapsed_ms,
    stats: { pid: 7, cmd_get: gets, get_hits: gets, get_misses: 0, rusage_user: 0, rusage_system: 0, ...more },
    storage: {}, process: {}, bounds_nanos: [1000, 10000], buckets: { get: [gets, 0, 0], set: [] },
  });
  const point = (before, after) => Shape.point(before, after);
  const got = {
    half: point(answer(1000, 100), answer(3000, 200)).get,
    hit: point(answer(1000, 100), answer(3000, 200)).hit,
    idle: point(answer(1000, 100), answer(2000, 100)).hit,
    first: point(null, answer(1000, 100)).get,
    reset: point(answer(1000, 100), answer(2000, 3)).get,
    restarted: point(answer(9000, 100), answer(2000, 300)).get,
    replaced: point(answer(1000, 100), answer(2000, 300, { pid: 8 })).get,
    slept: point(answer(1000, 100), answer(60_000, 300)).get,
    level: point(null, answer(1000, 100, { curr_connections: 4 })).clients,
    below: Shape.percentile([100], [1000], 0.5),
    none: Shape.percentile([0, 0], [1000], 0.5),
    beyond: Shape.percentile([0, 0, 5], [1000, 10000], 0.99),
    words: [Shape.write.count(0), Shape.write.count(999), Shape.write.count(1500), Shape.write.count(999_999),
      Shape.write.bytes(1536), Shape.write.seconds(2.5e-7), Shape.write.seconds(0.0015), Shape.write.percent(99.96),
      Shape.write.count(null), Shape.write.span(90_061)],
    names: [Shape.write.name(""), Shape.write.name("user"), Shape.write.name("a\u202eb\u200b")],
    tops: [Shape.top(7, 0, 1000), Shape.top(3, 10, 1000), Shape.top(2, 10, 1000), Shape.top(3000, 0, 1024)],
  };
  return got;
}

// The page has so many more answers, and has seen the last but one.
async function polled(page, count) {
  for (let answers = 0; answers <= count; answers++) await page.waitForResponse((response) => response.url().endsWith(".json"));
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const complaints = [];
  let offline = false;
  page.on("console", (message) => {
    const expected = offline && message.text().includes("ERR_INTERNET_DISCONNECTED");
    if (!expected && ["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  const asked = new Set();
  page.on("request", (request) => asked.add(request.url()));
  const text = (selector) => page.textContent(selector);
  const number = async (selector) => parseFloat((await text(selector)).replace(/,/g, ""));

  await page.goto(origin);
  await page.check("input[value='60']", { force: true });
  await until("it serves", async () => (await text("#state")) === "Serving");

  const got = await page.evaluate(shapes);
  const { below, ...exact } = got;
  assert.ok(below > 0.4e-6 && below < 1e-6, below);
  assert.deepStrictEqual(exact, {
    half: 50, hit: 100, idle: null, first: null, reset: null, restarted: null, replaced: null, slept: null, level: 4,
    none: null, beyond: 1e-5,
    words: ["0", "999", "1.50 k", "1.00 M", "1.50 KiB", "250 ns", "1.50 ms", "100 %", "–", "1 d 1 h"],
    names: ["(empty)", "user", "a\\u{202e}b\\u{200b}"],
    tops: [10, 10, 2, 4096],
  });

  // Under load the numbers move; afterwards they are what `stats` says.
  const seen = new Set();
  let rounds = 0;
  await until("the numbers change", async () => {
    for (let n = 0; n < 20; n++) await round(rounds++);
    if ((await number("#tile-requests")) > 0) seen.add(await text("#tile-requests"));
    return seen.size >= 4;
  });
  const isHalf = async () => (await number("#tile-hits")) > 30 && (await number("#tile-hits")) < 70;
  await until("one get in two hits, and latencies", async () => {
    for (let n = 0; n < 20; n++) await round(rounds++);
    return (await isHalf()) && (await number("#tile-get")) > 0 && (await number("#tile-set")) > 0;
  });
  await until("prefixes", async () => /user.*cart|cart.*user/s.test(await text("#prefixes")));
  for (const name of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: name });
    await page.screenshot({ path: path.join(folder, `status-${name}.png`), fullPage: true });
  }
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.emulateMedia({ colorScheme: "light" });
  assert.notStrictEqual(await ground(), dark);

  await page.click("#stats summary");
  const wire = await stats();
  for (const name of ["cmd_get", "get_hits", "get_misses", "cmd_set", "delete_hits", "curr_items", "bytes", "limit_maxbytes"]) {
    await until(`${name} is ${wire[name]}`, () =>
      page.evaluate(([name, value]) => {
        const row = [...document.querySelectorAll("#stats dl div")].find((row) => row.firstChild.textContent === name);
        return row?.lastChild.textContent === value;
      }, [name, wire[name]]));
  }
  await until("the items", async () => (await number("#tile-items")) === Number(wire.curr_items));
  // Not by a click: what is above it grows while the figures come in.
  await page.evaluate(() => (document.querySelector("#numbers").open = true));
  await until("the numbers", async () => /Requests: get/.test(await text("#numbers tbody")));

  // Without a mouse: to the range, along it, to the button, to a chart and back in time.
  await page.focus("input[value='60']");
  await page.keyboard.press("ArrowRight");
  assert.ok(await page.isChecked("input[value='300']"));
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.strictEqual(await page.getAttribute("#pause", "aria-pressed"), "true");
  const paused = await text("#who");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowLeft");
  assert.match(await text("#read"), /^\d\d:\d\d:\d\d: get /);
  assert.match(await text("figure .at"), /^at /);
  const past = await text("#read");
  await page.keyboard.press("Escape");
  assert.strictEqual(await text("figure .at"), "");
  const legends = await text("#charts");
  await polled(page, 2);
  assert.strictEqual(await text("#who"), paused, "a page that is paused stands still");
  await page.keyboard.press("ArrowLeft");
  assert.strictEqual(await text("#read"), past, "of what came in meanwhile nothing is in view");
  await page.keyboard.press("Escape");
  assert.strictEqual(await text("#charts"), legends);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.strictEqual(await page.getAttribute("#pause", "aria-pressed"), "false");

  // What is read stays in its place while time goes on, and the next key goes on from there.
  await page.focus(".plot");
  await page.keyboard.press("ArrowLeft");
  const first = await text("figure .at");
  await polled(page, 3);
  assert.strictEqual(await text("figure .at"), first);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  const second = await text("figure .at");
  assert.notStrictEqual(second, first);
  await page.hover(".plot >> nth=1");
  assert.notStrictEqual(await text("figure .at"), second, "the mouse leads it again");
  // A mouse that rests reads what comes by below it, and is not carried along to now.
  await page.check("input[value='60']", { force: true });
  const room = await page.locator(".u-over >> nth=1").boundingBox();
  await page.mouse.move(room.x + room.width * 0.85, room.y + 20);
  await polled(page, 4);
  const age = await page.evaluate(() => {
    const [hours, minutes, seconds] = document.querySelector("figure .at").textContent.slice(3).split(":").map(Number);
    const now = new Date();
    const since = (now.getHours() - hours) * 3600 + (now.getMinutes() - minutes) * 60 + now.getSeconds() - seconds;
    return (since + 86400) % 86400;
  });
  assert.ok(age >= 5 && age <= 30, `${age} seconds ago`);
  await page.mouse.move(0, 0);
  assert.strictEqual(await text("figure .at"), "");

  // Nobody answers, and then somebody does.
  offline = true;
  await page.context().setOffline(true);
  await until("it says so", async () => /^No answer from the daemon since \d\d:/.test(await text("#state")));
  assert.match(await page.title(), /^No answer/);
  await page.context().setOffline(false);
  await until("it serves again", async () => (await text("#state")) === "Serving");
  offline = false;

  // With few colours of the system's own the legends still tell the lines apart, and bars are seen.
  await page.emulateMedia({ forcedColors: "active" });
  const [get, set, bar, rest] = await page.evaluate(() => {
    const [get, set] = [...document.querySelectorAll(".legend dt")].map((term) => getComputedStyle(term, "::before").borderTopColor);
    const ground = (selector) => getComputedStyle(document.querySelector(selector)).backgroundColor;
    return [get, set, ground(".bar span"), ground(".bar")];
  });
  assert.ok(get !== set && bar !== rest, `${get} ${set} ${bar} ${rest}`);
  await page.emulateMedia({ forcedColors: "none" });

  socket.write(`set ${"l".repeat(240)}:k 0 0 1\r\nv\r\n`);
  await line();
  await until("the long prefix", async () => /l{240}/.test(await text("#prefixes")));
  await page.setViewportSize({ width: 390, height: 844 });
  const width = await until("it fits a telephone", () =>
    page.evaluate(() => document.scrollingElement.scrollWidth <= 390 && document.scrollingElement.scrollWidth));
  assert.ok(width <= 390, `${width}`);
  const cut = await page.evaluate(() => [...document.querySelectorAll("#prefixes td:nth-child(2), #numbers td:nth-child(2)")]
    .filter((cell) => cell.getBoundingClientRect().right > 390).map((cell) => cell.parentElement.textContent));
  assert.deepStrictEqual(cut, [], "a figure stands beside each name");
  await page.screenshot({ path: path.join(folder, "status-phone.png") });

  // Without a memory tier nothing says that it has no limit.
  await page.route("**/status.json", async (route) => {
    const answer = await (await route.fetch()).json();
    answer.storage.memory_bytes = answer.storage.memory_bytes_max = 0;
    await route.fulfill({ json: answer });
  });
  await until("it is off", async () => (await page.textContent("#tile-tier ~ .more")) === "off: -m 0");

  assert.deepStrictEqual(complaints, []);
  const elsewhere = [...asked].filter((url) => !url.startsWith(origin + "/") && !url.startsWith("data:"));
  assert.deepStrictEqual(elsewhere, []);
  await browser.close();
  socket.destroy();
  console.log("passed");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
