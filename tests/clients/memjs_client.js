// memjs against a server, in the binary protocol. See checking.js.

"use strict";

const memjs = require("memjs");
const {
  ALL_BYTES,
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

const silent = { log() {} };
const client = memjs.Client.create(address, { timeout: 20, retries: 3, retry_delay: 0.05, logger: silent });

async function valueOf(key) {
  const { value } = await client.get(key);
  return value;
}

async function textOf(key) {
  const value = await valueOf(key);
  return value && value.toString();
}

async function setAndGet() {
  same(await valueOf("nothing"), null, "a missing key");
  for (const value of ["text äöü", "", ALL_BYTES]) {
    same(await client.set("typed", value, {}), true, "set");
    same(await valueOf("typed"), Buffer.from(value), "get");
  }
  same(await client.set("with space", "x", {}), true, "a key with a space in it");
  same(await textOf("with space"), "x", "comes back");
  same(await client.set("k".repeat(250), "long", {}), true, "the longest key");
  same(await textOf("k".repeat(250)), "long", "the longest key comes back");
}

// memjs sends what it is asked at once: a thousand requests stand in one connection.
async function many() {
  const keys = Array.from({ length: 1000 }, (_, number) => `many${number}`);
  const stored = await Promise.all(keys.map((key) => client.set(key, `value of ${key}`, {})));
  same(stored.every(Boolean), true, "sets at once");
  const found = await Promise.all(keys.map(textOf));
  same(found, keys.map((key) => `value of ${key}`), "gets at once");
  const deleted = await Promise.all(keys.map((key) => client.delete(key)));
  same(deleted.every(Boolean), true, "deletes at once");
  same((await Promise.all(keys.map(textOf))).every((value) => value === null), true, "all are gone");
}

// Without `prepend`, which in memjs sends an append.
async function conditions() {
  same(await client.add("once", "3", {}), true, "add");
  same(await client.add("once", "2", {}), false, "add on an existing key");
  same(await client.replace("never", "3", {}), false, "replace of a missing key");
  same(await client.append("once", "4"), true, "append");
  await refused(client.append("never", "4"), "append to a missing key");
  same(await textOf("once"), "34", "what came of it");
  same(await client.replace("once", "new", {}), true, "replace");
  same(await client.delete("once"), true, "delete");
  same(await client.delete("once"), false, "delete of a missing key");
}

async function numbers() {
  const up = async (key, amount, options) => (await client.increment(key, amount, options)).value;
  same(await up("number", 5, { initial: 10 }), 10, "increment of a missing key stores the first value");
  same(await up("number", 5, {}), 15, "increment");
  same(await textOf("number"), "15", "which a get shows as text");
  same((await client.decrement("number", 10, {})).value, 5, "decrement");
  same((await client.decrement("number", 10, {})).value, 0, "decrement stops at zero");
  await client.set("word", "abc", {});
  await refused(client.increment("word", 1, {}), "increment of a word");
}

async function expiry() {
  // Two seconds, for the clock may tick between the set and the touch.
  same(await client.set("longer", "x", { expires: 2 }), true, "set of what is touched");
  same(await client.set("brief", "x", { expires: 2 }), true, "set with an expiry");
  same(await client.touch("longer", 1000), true, "touch");
  same(await client.touch("never", 1000), false, "touch of a missing key");
  await waitsUntil(null, () => valueOf("brief"), "it expires");
  same(await textOf("longer"), "x", "what was touched does not");
}

async function sizes() {
  for (const size of [1, 1000, 2048, 65_536, 500_000, VALUE_BYTES_LARGE]) {
    const value = randomBytes(size);
    same(await client.set("large", value, {}), true, `${size} bytes`);
    same(await valueOf("large"), value, `${size} bytes come back`);
  }
  await refused(client.set("large", randomBytes(VALUE_BYTES_TOO_LARGE), {}), "too large");
  same(await client.set("small", "x", {}), true, "and the connection goes on");
}

async function aboutTheServer() {
  const stats = await new Promise((resolve, reject) => {
    client.stats((error, _, stats) => (error ? reject(error) : resolve(stats)));
  });
  for (const name of ["pid", "uptime", "curr_items", "cmd_get", "cmd_set", "get_hits", "threads"]) {
    same(/^\d+$/.test(stats[name]), true, `stats has a number for ${name}`);
  }
}

async function flush() {
  await client.set("flushed", "x", {});
  same(await client.flush(), { [address]: true }, "flush");
  same(await valueOf("flushed"), null, "nothing is left");
  same(await client.set("flushed", "y", {}), true, "and it goes on");
  same(await textOf("flushed"), "y", "with what is stored after");
}

async function afterARestart() {
  const value = randomBytes(10_000);
  await client.set("kept", value, {});
  await restart();
  await comesBack(value, null, () => valueOf("kept"), "the item");
  same(await client.set("after", "y", {}), true, "and it goes on");
}

run("memjs", [
  setAndGet,
  many,
  conditions,
  numbers,
  expiry,
  sizes,
  aboutTheServer,
  flush,
  afterARestart,
]);
