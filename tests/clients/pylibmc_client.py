"""pylibmc, which is libmemcached, against a server. See checking.py; one word more: `text` or `binary`."""

import sys

import pylibmc
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


def client_of(address, binary, **behaviors):
    return pylibmc.Client([address], binary=binary, behaviors={"cas": True, "tcp_nodelay": True} | behaviors)


def set_and_get(client):
    same(client.get("nothing"), None, "a missing key")
    for value in ("text äöü", b"bytes", b"", ALL_BYTES, 42, 1 << 70, 2.5, True, None, {"a": [1, 2]}):
        same(client.set("typed", value), True, f"set of a {type(value).__name__}")
        same(client.get("typed"), value, f"get of a {type(value).__name__}")
    same(client.set("k" * 250, b"long"), True, "the longest key")
    same(client.get("k" * 250), b"long", "the longest key comes back")
    same(client.set("packed", "text " * 100_000, min_compress_len=1000), True, "a value that is compressed")
    same(client.get("packed"), "text " * 100_000, "is expanded")


def many(client):
    values = {f"many{number}": b"value %d" % number for number in range(1000)}
    same(client.set_multi(values), [], "set_multi fails for none")
    same(client.get_multi(list(values)), values, "get_multi")
    same(client.get_multi(["many1", "nothing", "many2"]), {k: values[k] for k in ("many1", "many2")}, "misses")
    same(client.get_multi(["1", "2"], key_prefix="many"), {"1": b"value 1", "2": b"value 2"}, "a prefix")
    same(sorted(client.add_multi({"many1": b"x", "fresh": b"y"})), ["many1"], "add_multi says what was there")
    same(client.delete_multi(list(values)), True, "delete_multi")
    same(client.get_multi(list(values)), {}, "all are gone")


def found(call):
    """In the binary protocol a missing key is an exception where it is False in the text."""
    try:
        return call()
    except pylibmc.NotFound:
        return False


def conditions(client):
    same(client.add("once", b"3"), True, "add")
    same(client.add("once", b"2"), False, "add on an existing key")
    same(found(lambda: client.replace("never", b"3")), False, "replace of a missing key")
    same(client.append("once", b"4"), True, "append")
    same(client.prepend("once", b"2"), True, "prepend")
    same(client.get("once"), b"234", "what came of it")
    same(client.replace("once", b"new"), True, "replace")
    same(client.delete("once"), True, "delete")
    same(client.delete("once"), False, "delete of a missing key")


def compare_and_swap(client):
    client.set("counted", 0)
    for _ in range(50):
        value, token = client.gets("counted")
        same(client.cas("counted", value + 1, token), True, "cas with the present token")
    same(client.get("counted"), 50, "a loop of cas")
    _, token = client.gets("counted")
    client.set("counted", 99)
    same(client.cas("counted", 51, token), False, "cas with an old token")
    same(client.get("counted"), 99, "changes nothing")


def numbers(client):
    client.set("number", 10)
    same(client.incr("number"), 11, "incr by one")
    same(client.incr("number", 1 << 30), 11 + (1 << 30), "incr by a large number")
    same(client.decr("number", 1 << 30), 11, "decr")
    same(client.decr("number", 100), 0, "decr stops at zero")
    client.set("full", (1 << 64) - 1)
    same(client.incr("full"), 0, "incr wraps at 64 bits")
    refused(pylibmc.NotFound, lambda: client.incr("never"), "incr of a missing key")
    client.set("word", "abc")
    # Another connection: in the binary protocol libmemcached takes this for the end of the server.
    refused(pylibmc.Error, lambda: client.clone().incr("word"), "incr of a word")
    client.set_multi({"n1": 1, "n2": 2})
    client.incr_multi(["n1", "n2"], delta=5)
    same(client.get_multi(["n1", "n2"]), {"n1": 6, "n2": 7}, "incr_multi")


def expiry(client):
    # Two seconds, for the clock may tick between the set and the touch.
    same(client.set("longer", b"x", time=2), True, "set of what is touched")
    same(client.set("brief", b"x", time=2), True, "set with an expiry")
    same(client.touch("longer", 1000), True, "touch")
    same(client.touch("never", 1000), False, "touch of a missing key")
    waits_until(None, lambda: client.get("brief"), "it expires")
    same(client.get("longer"), b"x", "what was touched does not")


def sizes(client):
    for size in (1, 1000, 2048, 65_536, 500_000, VALUE_BYTES_LARGE):
        value = incompressible(size)
        same(client.set("large", value), True, f"{size} bytes")
        same(client.get("large"), value, f"{size} bytes come back")
    refused(pylibmc.Error, lambda: client.set("large", incompressible(VALUE_BYTES_TOO_LARGE)), "too large")
    waits_until(True, lambda: tried(lambda: client.set("small", b"x")), "and it goes on")


def tried(call):
    try:
        return call()
    except pylibmc.Error:
        return None


def without_replies(address, binary):
    """Quiet commands in the binary protocol, `noreply` in the text; a read behind them sees them."""
    client = client_of(address, binary, _noreply=True)
    for number in range(500):
        client.set(f"quiet{number}", b"%d" % number)
    same(client.get("quiet499"), b"499", "the last of many without replies")
    same(len(client.get_multi([f"quiet{number}" for number in range(500)])), 500, "all of them")
    client.disconnect_all()


def about_the_server(client):
    (name, stats), *others = client.get_stats()
    same(others, [], "one server")
    for name in ("pid", "uptime", "curr_items", "cmd_get", "cmd_set", "get_hits", "threads"):
        same(stats[name].isdigit(), True, f"stats has a number for {name}")


def flush(client):
    client.set("flushed", b"x")
    same(client.flush_all(), True, "flush_all")
    same(client.get("flushed"), None, "nothing is left")
    same(client.set("flushed", b"y"), True, "and it goes on")
    same(client.get("flushed"), b"y", "with what is stored after")


def after_a_restart(client):
    value = incompressible(10_000)
    client.set("kept", value)
    restart()
    comes_back(value, lambda: client.get("kept"), pylibmc.Error, "the item")
    same(client.set("after", b"y"), True, "and it goes on")


def main():
    host, port, _, protocol = sys.argv[1:]
    address, binary = f"{host}:{port}", protocol == "binary"
    # Asks a server again at once that was gone, where the default waits some seconds.
    client = client_of(address, binary, retry_timeout=1)
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
    ):
        part(client)
    without_replies(address, binary)
    after_a_restart(client)
    passed(f"pylibmc, {protocol}")


main()
