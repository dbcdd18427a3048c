"""pymemcache against a server: everything an application would call. See checking.py."""

import sys
import time

from checking import (
    VALUE_BYTES_LARGE,
    VALUE_BYTES_TOO_LARGE,
    comes_back,
    passed,
    refused,
    restart,
    same,
    waits_until,
)
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError


def set_and_get(client):
    same(client.get("nothing"), None, "a missing key")
    same(client.get("nothing", default=b"else"), b"else", "a missing key's default")
    same(client.set("a", b"1", noreply=False), True, "set")
    same(client.get("a"), b"1", "get")
    same(client.set("a", b"", noreply=False), True, "set of nothing")
    same(client.get("a"), b"", "get of nothing")
    same(client.set("bytes", bytes(range(256)) * 16 + b"\r\nEND\r\n", noreply=False), True, "any bytes")
    same(client.get("bytes"), bytes(range(256)) * 16 + b"\r\nEND\r\n", "any bytes come back")
    same(client.raw_command(b"set flagged 4294967295 0 1\r\nx"), b"STORED", "flags of 32 bits")
    same(client.raw_command(b"get flagged", b"END\r\n"), b"VALUE flagged 4294967295 1\r\nx\r\n", "flags")
    same(client.set("k" * 250, b"long", noreply=False), True, "the longest key")
    same(client.get("k" * 250), b"long", "the longest key comes back")


def many(client):
    values = {f"many{number}": b"value %d" % number for number in range(1000)}
    same(client.set_many(values, noreply=False), [], "set_many fails for none")
    same(client.get_many(values), values, "get_many")
    same(client.get_many(["many1", "nothing", "many2"]), {k: values[k] for k in ("many1", "many2")}, "misses")
    same(client.delete_many(list(values), noreply=False), True, "delete_many")
    same(client.get_many(values), {}, "all are gone")


def conditions(client):
    same(client.add("once", b"1", noreply=False), True, "add")
    same(client.add("once", b"2", noreply=False), False, "add on an existing key")
    same(client.replace("once", b"3", noreply=False), True, "replace")
    same(client.replace("never", b"3", noreply=False), False, "replace of a missing key")
    same(client.append("once", b"4", noreply=False), True, "append")
    same(client.prepend("once", b"2", noreply=False), True, "prepend")
    same(client.append("never", b"4", noreply=False), False, "append to a missing key")
    same(client.get("once"), b"234", "what came of it")


def compare_and_swap(client):
    client.set("swapped", b"1", noreply=False)
    value, unique = client.gets("swapped")
    same(value, b"1", "gets")
    same(client.cas("swapped", b"2", unique, noreply=False), True, "cas")
    same(client.cas("swapped", b"3", unique, noreply=False), False, "cas with an old id")
    same(client.cas("never", b"3", unique, noreply=False), None, "cas of a missing key")
    same(client.get("swapped"), b"2", "the first one won")
    found = client.gets_many(["swapped", "never"])
    same(found["swapped"][0], b"2", "gets_many")
    same(found["swapped"][1] != unique, True, "a new id for a new value")


def numbers(client):
    client.set("number", b"10", noreply=False)
    same(client.incr("number", 5), 15, "incr")
    same(client.decr("number", 20), 0, "decr stops at 0")
    same(client.incr("number", 2**64 - 1), 2**64 - 1, "64 bits")
    same(client.incr("number", 2), 1, "and around")
    same(client.incr("never", 1), None, "incr of a missing key")
    client.set("text", b"ten", noreply=False)
    refused(MemcacheClientError, lambda: client.incr("text", 1), "incr of a text")


def expiry(client):
    # Two seconds, for the clock may tick between the set and the touch.
    client.set("touched", b"x", expire=2, noreply=False)
    client.set("got", b"x", expire=2, noreply=False)
    client.set("brief", b"x", expire=2, noreply=False)
    client.set("past", b"x", expire=-1, noreply=False)
    same(client.get("past"), None, "stored with a time in the past")
    same(client.touch("touched", 100, noreply=False), True, "touch")
    same(client.touch("never", 100, noreply=False), False, "touch of a missing key")
    same(client.raw_command(b"gat 100 got never", b"END\r\n"), b"VALUE got 0 1\r\nx\r\n", "gat")
    waits_until(None, lambda: client.get("brief"), "expires")
    same(client.get("touched"), b"x", "a touched item stays")
    same(client.get("got"), b"x", "an item got and touched stays")
    client.set("dated", b"x", expire=int(time.time()) + 100, noreply=False)
    same(client.get("dated"), b"x", "a time of day as expiry")


def without_replies(client):
    for number in range(200):
        client.set(f"quiet{number}", b"%d" % number, noreply=True)
    client.delete("quiet7", noreply=True)
    client.incr("quiet8", 1, noreply=True)
    client.append("quiet9", b"9", noreply=True)
    client.touch("quiet10", 100, noreply=True)
    same(client.get("quiet7"), None, "deleted without a reply")
    same(client.get("quiet8"), b"9", "counted without a reply")
    same(client.get("quiet9"), b"99", "appended without a reply")
    same(client.get("quiet199"), b"199", "stored without a reply")


def deletion(client):
    client.set("gone", b"x", noreply=False)
    same(client.delete("gone", noreply=False), True, "delete")
    same(client.delete("gone", noreply=False), False, "delete of a missing key")


def sizes(client):
    for size in (1, 2, 2047, 2048, 2049, 65_536, 500_000, VALUE_BYTES_LARGE):
        value = (b"%d " % size) * (size // 2 + 1)
        same(client.set("sized", value[:size], noreply=False), True, f"{size} bytes")
        same(client.get("sized"), value[:size], f"{size} bytes come back")
    refused(
        MemcacheServerError,
        lambda: client.set("sized", b"x" * VALUE_BYTES_TOO_LARGE, noreply=False),
        "too large",
    )
    same(client.get("sized"), None, "a value too large takes the old one with it")


def about_the_server(client):
    same(client.version().split(b".")[0].isdigit(), True, "version")
    stats = client.stats()
    for name in (b"pid", b"uptime", b"curr_items", b"cmd_get", b"cmd_set", b"get_hits", b"threads"):
        same(isinstance(stats.get(name), int), True, f"stats has a number for {name}")
    same(client.stats("settings").get(b"item_size_max"), 1_048_576, "stats settings")


def pool(host, port):
    client = PooledClient((host, port), max_pool_size=4, timeout=20)
    for number in range(100):
        client.set(f"pool{number}", b"x", noreply=False)
    same(len(client.get_many([f"pool{number}" for number in range(100)])), 100, "a pool of connections")
    client.close()


def flush(client):
    client.set("flushed", b"x", noreply=False)
    same(client.flush_all(noreply=False), True, "flush_all")
    same(client.get("flushed"), None, "nothing is left")
    same(client.set("flushed", b"y", noreply=False), True, "and it goes on")
    same(client.get("flushed"), b"y", "with what is stored after")


def after_a_restart(host, port):
    plain = Client((host, port), timeout=20)
    retrying = RetryingClient(Client((host, port), timeout=20), attempts=3, retry_delay=0.05)
    same(plain.set("kept", b"x" * 10_000, noreply=False), True, "a client that stays")
    same(retrying.get("kept"), b"x" * 10_000, "and one that tries again by itself")
    restart()
    comes_back(b"x" * 10_000, lambda: plain.get("kept"), (OSError, MemcacheServerError), "the item")
    comes_back(b"x" * 10_000, lambda: retrying.get("kept"), (), "the item, without an error")
    same(plain.set("after", b"y", noreply=False), True, "and it goes on")
    plain.close()


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = Client((host, port), timeout=20, connect_timeout=20)
    for part in (
        set_and_get,
        many,
        conditions,
        compare_and_swap,
        numbers,
        expiry,
        without_replies,
        deletion,
        sizes,
        about_the_server,
    ):
        part(client)
    pool(host, port)
    flush(client)
    client.quit()
    after_a_restart(host, port)
    passed("pymemcache")


main()
