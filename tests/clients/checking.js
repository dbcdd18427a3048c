// What the Node clients' scripts share. As checking.py, with the same arguments: HOST PORT and `keeps`
// or `forgets`, whether the server has its items after a restart.

"use strict";

const assert = require("node:assert");
const crypto = require("node:crypto");
const readline = require("node:readline");
const { setTimeout: pause } = require("node:timers/promises");

// With a short key memcached's default item limit of 1 MiB leaves more than this for the value.
const VALUE_BYTES_LARGE = 1_048_000;
const VALUE_BYTES_TOO_LARGE = 1_048_577;

const [host, port, kept] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let checks = 0;

function same(got, wanted, what) {
  checks += 1;
  if (Buffer.isBuffer(got) && Buffer.isBuffer(wanted)) {
    assert.ok(got.equals(wanted), `${what}: ${got.length} bytes that are others than the ${wanted.length}`);
  } else {
    assert.deepStrictEqual(got, wanted, `${what}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
  }
}

async function refused(promise, what) {
  checks += 1;
  await assert.rejects(promise, Error, what);
}

// Asks again until the answer is there: expiry is whole seconds. An error is no answer.
async function waitsUntil(wanted, probe, what) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const got = await Promise.resolve(probe()).catch((error) => error);
    try {
      return same(got, wanted, what);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await pause(50);
  }
}

// Has the server killed and started on the same port.
async function restart() {
  console.log("restart");
  same((await lines.next()).value, "restarted", "the answer of who restarts the server");
}

// What a probe finds after a restart, once the client has noticed that its connection is dead.
async function comesBack(wanted, missing, probe, what) {
  await waitsUntil(kept === "keeps" ? wanted : missing, probe, what);
}

// Runs the parts one after the other and ends the process.
function run(client, parts) {
  (async () => {
    for (const part of parts) await part();
    console.log(`passed: ${client}, ${checks} checks`);
  })().then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

const ALL_BYTES = Buffer.concat([Buffer.from([...Array(4096).keys()]), Buffer.from("\r\nEND\r\n")]);

module.exports = {
  ALL_BYTES,
  VALUE_BYTES_LARGE,
  VALUE_BYTES_TOO_LARGE,
  address: `${host}:${port}`,
  comesBack,
  randomBytes: crypto.randomBytes,
  refused,
  restart,
  run,
  same,
  waitsUntil,
};
