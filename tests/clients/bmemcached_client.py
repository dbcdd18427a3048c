"""python-binary-memcached against a server, in the binary protocol. See checking.py."""

import sys

import bmemcached
from bmemcached.exceptions import MemcachedException
from checking import (
    ALL_BYTES,
    VALUE_BYTES_LARGE,
    VALUE_BYTES_TOO_LARGE,
    comes_back,
    incompressible,
    passed,
    refused,
    restart,
    same,
    waits_until,
)


def set_and_get(client):
    same(client.get("nothing"), None, "a missing key")
    same(client.get("nothing", default="else"), "else", "a missing key's default")
    for value in ("text äöü", b"bytes", b"", ALL_BYTES, 42, {"a": [1, 2]}):
        same(client.set("typed", value), True, f"set of a {type(value).__name__}")
        same(client.get("typed"), value, f"get of a {type(value).__name__}")
    same(client.set("with space", b"x"), True, "a key with a space in it")
    same(client.get("with space"), b"x", "comes back")
    same(client.set("k" * 250, b"long"), True, "the longest key")
    same(client.get("k" * 250), b"long", "the longest key comes back")


def many(client):
    values = {f"many{number}": b"value %d" % number for number in range(1000)}
    same(client.set_multi(values), [], "set_multi, quiet sets and a noop, fails for none")
    same(client.get_multi(values), values, "get_multi, quiet gets")
    same(client.get_multi(["many1", "nothing", "many2"]), {k: values[k] for k in ("many1", "many2")}, "misses")
    same(client.set_multi({("many1", 0): b"x", ("fresh", 0): b"y"}), [("many1", 0)], "quiet adds say what failed")
    tokens = client.get_multi(["many1", "many2"], get_cas=True)
    swapped = {(key, token): b"z" for key, (_, token) in tokens.items()}
    same(client.set_multi(swapped), [], "quiet sets with tokens")
    same(len(client.set_multi(swapped)), 2, "which are then old")
    same(client.delete_multi(list(values)), True, "delete_multi")
    same(client.get_multi(values), {}, "all are gone")


def conditions(client):
    same(client.add("once", b"1"), True, "add")
    same(client.add("once", b"2"), False, "add on an existing key")
    same(client.replace("once", b"3"), True, "replace")
    same(client.replace("never", b"3"), False, "replace of a missing key")
    same(client.get("once"), b"3", "what came of it")
    _, token = client.gets("once")
    same(client.delete("once", cas=token + 1), False, "delete with another token")
    same(client.delete("once", cas=token), True, "delete with the present token")
    same(client.get("once"), None, "it is gone")


def compare_and_swap(client):
    client.set("counted", 0)
    for _ in range(50):
        value, token = client.gets("counted")
        same(client.cas("counted", value + 1, token), True, "cas with the present token")
    same(client.get("counted"), 50, "a loop of cas")
    _, token = client.gets("counted")
    stored, fresh = client.set("counted", 99, get_cas=True)
    same((stored, fresh != token), (True, True), "a set tells the new token")
    same(client.cas("counted", 51, token), False, "cas with an old token")
    same(client.cas("counted", 51, fresh), True, "cas with the token of the set")
    same(client.cas("never", 51, token), False, "cas of a missing key")


def numbers(client):
    same(client.incr("number", 5, default=10), 10, "incr of a missing key stores the default")
    same(client.incr("number", 5), 15, "incr")
    same(client.incr("number", 1 << 40), 15 + (1 << 40), "incr by a large number")
    same(client.decr("number", 1 << 40), 15, "decr")
    same(client.decr("number", 100), 0, "decr stops at zero")
    client.set("full", str((1 << 64) - 1))
    same(client.incr("full", 1), 0, "incr wraps at 64 bits")
    client.set("word", "abc")
    refused(MemcachedException, lambda: client.incr("word", 1), "incr of a word")


def expiry(client):
    same(client.set("brief", b"x", time=1), True, "set with an expiry")
    same(client.set("longer", b"x", time=1000), True, "set with a longer one")
    same(client.incr("brief number", 1, default=7, time=1), 7, "a number that expires")
    waits_until(None, lambda: client.get("brief"), "it expires")
    waits_until(None, lambda: client.get("brief number"), "the number expires")
    same(client.get("longer"), b"x", "the other does not")


def sizes(client):
    for size in (1, 1000, 2048, 65_536, 500_000, VALUE_BYTES_LARGE):
        value = incompressible(size)
        same(client.set("large", value), True, f"{size} bytes")
        same(client.get("large"), value, f"{size} bytes come back")
    too_large = incompressible(VALUE_BYTES_TOO_LARGE)
    refused(MemcachedException, lambda: client.set("large", too_large), "too large")
    same(client.set("small", b"x"), True, "and the connection goes on")


def about_the_server(client):
    (stats,) = client.stats().values()
    for name in ("pid", "uptime", "curr_items", "cmd_get", "cmd_set", "get_hits", "threads"):
        same(stats[name].isdigit(), True, f"stats has a number for {name}")


def flush(client):
    client.set("flushed", b"x")
    same(client.flush_all(), True, "flush_all")
    same(client.get("flushed"), None, "nothing is left")
    same(client.set("flushed", b"y"), True, "and it goes on")
    same(client.get("flushed"), b"y", "with what is stored after")


def after_a_restart(client):
    client.enable_retry_delay(False)
    value = incompressible(10_000)
    client.set("kept", value)
    restart()
    comes_back(value, lambda: client.get("kept"), MemcachedException, "the item")
    same(client.set("after", b"y"), True, "and it goes on")


def main():
    host, port = sys.argv[1:3]
    client = bmemcached.Client([f"{host}:{port}"], socket_timeout=20)
    for part in (
        set_and_get,
        many,
        conditions,
        compare_and_swap,
        numbers,
        expiry,
        sizes,
        about_the_server,
        flush,
        after_a_restart,
    ):
        part(client)
    passed("python-binary-memcached")


main()
