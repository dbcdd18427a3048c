// Pages of `inspect report` in headless Chromium, from the file system and without a network.
//
//   node report_page.js FOLDER PAGE...     pictures go to the folder

"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const [folder, ...pages] = process.argv.slice(2);
const places = process.env.PATH.split(":").map((place) => path.join(place, "chromium"));
const executablePath = places.find((place) => fs.existsSync(place));

// What a page is made of, as the browser has understood it.
function parts() {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.getClientRects().length > 0;
  return {
    scripts: all("script").map((script) => script.type),
    strange: all("img, iframe, object, embed, link, form, input, a, b, i").length,
    events: all("*").filter((element) => [...element.attributes].some((a) => a.name.startsWith("on"))).length,
    unnamed: all("svg[role=img]").filter((svg) => {
      const ids = svg.getAttribute("aria-labelledby").split(" ");
      return ids.length !== 2 || !ids.every((id) => document.getElementById(id)?.textContent.trim());
    }).length,
    twice: all("[id]").length - new Set(all("[id]").map((element) => element.id)).size,
    maps: all(".map").filter(seen).length,
    // Text of a picture that is wider than its picture.
    outside: all("svg[role=img]:not([id^=map]) text").filter(seen).filter((text) => {
      const [inner, outer] = [text, text.closest("svg")].map((element) => element.getBoundingClientRect());
      return inner.left < outer.left - 1 || inner.right > outer.right + 1;
    }).map((text) => text.textContent),
    // Figures that lie over what is beside them.
    wide: all(".big").filter((figure) => figure.scrollWidth > figure.clientWidth).map((figure) => figure.textContent),
    // Text that is too small to be read.
    small: all("svg[role=img]:not([id^=map]) .label").filter(seen)
      .filter((text) => text.getBoundingClientRect().height < 8).length,
    width: document.scrollingElement.scrollWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText,
    data: JSON.parse(document.getElementById("litecached-report").textContent),
  };
}

async function look(browser, file) {
  const name = path.basename(file, ".html");
  const complaints = [];
  const asked = [];
  const grounds = {};
  for (const [kind, viewport, colorScheme] of [
    ["light", { width: 1280, height: 900 }, "light"],
    ["dark", { width: 1280, height: 900 }, "dark"],
    ["middle", { width: 820, height: 1100 }, "light"],
    ["phone", { width: 375, height: 812 }, "light"],
    ["phone-dark", { width: 375, height: 812 }, "dark"],
  ]) {
    const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: kind.startsWith("phone") ? 2 : 1 });
    const page = await context.newPage();
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("dialog", (dialog) => complaints.push(dialog.message()));
    page.on("request", (request) => asked.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    const found = await page.evaluate(parts);
    assert.deepStrictEqual(found.scripts, ["application/json"], name);
    for (const what of ["strange", "events", "unnamed", "twice", "small"]) assert.strictEqual(found[what], 0, `${name}, ${kind}: ${what}`);
    assert.deepStrictEqual([found.outside, found.wide], [[], []], `${name}, ${kind}`);
    assert.strictEqual(found.maps, found.data.figures.live.items ? 1 : 0, name);
    assert.ok(found.width <= viewport.width, `${name}, ${kind}: ${found.width} pixels wide`);
    grounds[colorScheme] = found.ground;
    await page.screenshot({ path: path.join(folder, `report-${name}-${kind}.png`), fullPage: true });
    if (kind === "light") {
      await page.emulateMedia({ media: "print" });
      const printed = () => [...document.querySelectorAll("details table")]
        .every((table) => table.checkVisibility() && table.getBoundingClientRect().height > 20);
      await page.waitForFunction(printed, null, { timeout: 10_000 });
      await page.emulateMedia({ media: "screen" });
      await page.pdf({ path: path.join(folder, `report-${name}.pdf`), format: "A4" });
    }
    // With all tables open it is no wider.
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    assert.ok((await page.evaluate(() => document.scrollingElement.scrollWidth)) <= viewport.width, `${name}, ${kind}, open`);
    await context.close();
  }
  assert.notStrictEqual(grounds.light, grounds.dark);
  // The same without scripts, which it has none of.
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.goto(pathToFileURL(file).href);
  assert.ok((await page.textContent("h1")).length > 0);
  await context.close();
  assert.deepStrictEqual(complaints, [], name);
  assert.deepStrictEqual([...new Set(asked)], [pathToFileURL(file).href], name);
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  for (const file of pages) await look(browser, file);
  await browser.close();
  console.log("passed");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
