// The `memcached` package of npm against a server, in the text protocol. See checking.js.

"use strict";

const Memcached = require("memcached");
const {
  VALUE_BYTES_LARGE,
  VALUE_BYTES_TOO_LARGE,
  address,
  comesBack,
  randomBytes,
  refused,
  restart,
  run,
  same,
  waitsUntil,
} = require("./checking.js");

// It asks a server again at once that was gone, where the default waits half a minute. A value may be
// larger than the server takes, so that the server says so.
const client = new Memcached(address, { retry: 20, failures: 1000, timeout: 20_000, maxValue: 4_000_000 });

function call(name, ...words) {
  return new Promise((resolve, reject) => {
    client[name](...words, (error, data) => (error ? reject(error) : resolve(data)));
  });
}

async function setAndGet() {
  same(await call("get", "nothing"), undefined, "a missing key");
  for (const value of ["text äöü", "lines\r\nEND\r\n", 42, 2.5, { a: [1, 2] }, Buffer.from([...Array(256).keys()])]) {
    same(await call("set", "typed", value, 0), true, "set");
    same(await call("get", "typed"), value, "get");
  }
  same(await call("set", "k".repeat(250), "long", 0), true, "the longest key");
  same(await call("get", "k".repeat(250)), "long", "the longest key comes back");
}

async function many() {
  const keys = Array.from({ length: 500 }, (_, number) => `many${number}`);
  const values = Object.fromEntries(keys.map((key) => [key, `value of ${key}`]));
  const stored = await Promise.all(keys.map((key) => call("set", key, values[key], 0)));
  same(stored.every(Boolean), true, "sets at once");
  same(await call("getMulti", keys), values, "getMulti");
  same(await call("getMulti", ["many1", "nothing"]), { many1: "value of many1" }, "misses");
  const deleted = await Promise.all(keys.map((key) => call("del", key)));
  same(deleted.every(Boolean), true, "deletes at once");
  same(await call("getMulti", keys), {}, "all are gone");
}

async function conditions() {
  same(await call("add", "once", "3", 0), true, "add");
  await refused(call("add", "once", "2", 0), "add on an existing key");
  await refused(call("replace", "never", "3", 0), "replace of a missing key");
  same(await call("append", "once", "4"), true, "append");
  same(await call("prepend", "once", "2"), true, "prepend");
  same(await call("get", "once"), "234", "what came of it");
  same(await call("replace", "once", "new", 0), true, "replace");
  same(await call("del", "once"), true, "delete");
  same(await call("del", "once"), false, "delete of a missing key");
}

async function compareAndSwap() {
  await call("set", "counted", 0, 0);
  for (let round = 0; round < 50; round += 1) {
    const { counted, cas } = await call("gets", "counted");
    same(await call("cas", "counted", counted + 1, cas, 0), true, "cas with the present token");
  }
  same(await call("get", "counted"), 50, "a loop of cas");
  const { cas } = await call("gets", "counted");
  await call("set", "counted", 99, 0);
  same(await call("cas", "counted", 51, cas, 0), false, "cas with an old token");
  same(await call("get", "counted"), 99, "changes nothing");
}

async function numbers() {
  await call("set", "number", 10, 0);
  same(await call("incr", "number", 5), 15, "incr");
  same(await call("decr", "number", 5), 10, "decr");
  same(await call("decr", "number", 100), 0, "decr stops at zero");
  same(await call("incr", "never", 1), false, "incr of a missing key");
  await call("set", "word", "abc", 0);
  await refused(call("incr", "word", 1), "incr of a word");
}

async function expiry() {
  // Two seconds, for the clock may tick between the set and the touch.
  same(await call("set", "longer", "x", 2), true, "set of what is touched");
  same(await call("set", "brief", "x", 2), true, "set with an expiry");
  same(await call("touch", "longer", 1000), true, "touch");
  await waitsUntil(undefined, () => call("get", "brief"), "it expires");
  same(await call("get", "longer"), "x", "what was touched does not");
}

async function sizes() {
  for (const size of [1, 1000, 2048, 65_536, 500_000, VALUE_BYTES_LARGE]) {
    const value = randomBytes(size).toString("latin1", 0, size).replace(/[^ -~]/g, "x");
    same(await call("set", "large", value, 0), true, `${size} bytes`);
    same(await call("get", "large"), value, `${size} bytes come back`);
  }
  same(await call("set", "large", "x".repeat(VALUE_BYTES_TOO_LARGE), 0), false, "too large");
  await waitsUntil(true, () => call("set", "small", "x", 0), "and it goes on");
}

async function aboutTheServer() {
  const [stats] = await call("stats");
  for (const name of ["pid", "uptime", "curr_items", "cmd_get", "cmd_set", "get_hits", "threads"]) {
    same(Number.isInteger(stats[name]), true, `stats has a number for ${name}`);
  }
  const [settings] = await call("settings");
  same(settings.item_size_max, 1_048_576, "stats settings");
  const [version] = await call("version");
  // It takes the last three numbers, which are litecached's own.
  same(/^\d+\.\d+\.\d+$/.test(version.version), true, "version");
  same(Array.isArray(await call("items")), true, "stats items");
  same(Array.isArray(await call("slabs")), true, "stats slabs");
}

async function flush() {
  await call("set", "flushed", "x", 0);
  same(await call("flush"), [true], "flush");
  same(await call("get", "flushed"), undefined, "nothing is left");
  same(await call("set", "flushed", "y", 0), true, "and it goes on");
  same(await call("get", "flushed"), "y", "with what is stored after");
}

async function afterARestart() {
  await call("set", "kept", "x".repeat(10_000), 0);
  await restart();
  await comesBack("x".repeat(10_000), undefined, () => call("get", "kept"), "the item");
  same(await call("set", "after", "y", 0), true, "and it goes on");
}

run("memcached", [
  setAndGet,
  many,
  conditions,
  compareAndSwap,
  numbers,
  expiry,
  sizes,
  aboutTheServer,
  flush,
  afterARestart,
]);
