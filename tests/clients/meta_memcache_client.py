"""meta-memcache against a server, in the meta protocol. See checking.py."""

import sys

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
from meta_memcache import (
    CacheClient,
    LeasePolicy,
    MemcacheError,
    RecachePolicy,
    ServerAddress,
    SetMode,
    StalePolicy,
    connection_pool_factory_builder,
)

HOUR = 3600


def set_and_get(client):
    same(client.get("nothing"), None, "a missing key")
    for value in ("text äöü", b"bytes", b"", ALL_BYTES, 42, {"a": [1, 2]}):
        same(client.set("typed", value, ttl=HOUR), True, f"set of a {type(value).__name__}")
        same(client.get("typed"), value, f"get of a {type(value).__name__}")
    # It sends what is no plain key in base64.
    same(client.set("grüße mit leerzeichen", b"x", ttl=HOUR), True, "a key with spaces and umlauts")
    same(client.get("grüße mit leerzeichen"), b"x", "comes back")
    same(client.set("k" * 250, b"long", ttl=HOUR), True, "the longest key")
    same(client.get("k" * 250), b"long", "the longest key comes back")
    same(client.get_typed("typed", dict), {"a": [1, 2]}, "get_typed")


def many(client):
    values = {f"many{number}": b"value %d" % number for number in range(1000)}
    for key, value in values.items():
        client.set(key, value, ttl=HOUR, no_reply=True)
    found = {key.key: value for key, value in client.multi_get(list(values)).items()}
    same(found, values, "multi_get of what was set without replies")
    found = {key.key: value for key, value in client.multi_get(["many1", "nothing"]).items()}
    same(found, {"many1": b"value 1", "nothing": None}, "misses")
    for key in values:
        client.delete(key, no_reply=True)
    same(set(client.multi_get(list(values)).values()), {None}, "all are gone")


def conditions(client):
    def mode(key, value, set_mode):
        return client.set(key, value, ttl=HOUR, set_mode=set_mode)

    same(mode("once", b"3", SetMode.ADD), True, "add")
    same(mode("once", b"2", SetMode.ADD), False, "add on an existing key")
    same(client.refill("once", b"2", ttl=HOUR), False, "refill of an existing key")
    same(mode("never", b"3", SetMode.REPLACE), False, "replace of a missing key")
    same(mode("once", b"4", SetMode.APPEND), True, "append")
    same(mode("once", b"2", SetMode.PREPEND), True, "prepend")
    same(mode("never", b"2", SetMode.APPEND), False, "append to a missing key")
    same(client.get("once"), b"234", "what came of it")
    same(mode("once", b"new", SetMode.REPLACE), True, "replace")
    same(client.delete("once"), True, "delete")
    same(client.delete("once"), False, "delete of a missing key")
    same(client.invalidate("once"), True, "which invalidate does not mind")


def compare_and_swap(client):
    client.set("counted", 0, ttl=HOUR)
    for _ in range(50):
        value, token = client.get_cas("counted")
        same(client.set("counted", value + 1, ttl=HOUR, cas_token=token), True, "the present token")
    same(client.get("counted"), 50, "a loop of cas")
    _, token = client.get_cas("counted")
    fresh = client.set_cas("counted", 99, ttl=HOUR)
    same(client.get_cas("counted"), (99, fresh), "a set tells the token that a get tells")
    same(client.set("counted", 51, ttl=HOUR, cas_token=token), False, "an old token")
    same(client.delete("counted", cas_token=token), False, "delete with an old token")
    same(client.delete("counted", cas_token=fresh), True, "delete with the present one")


def numbers(client):
    same(client.delta("number", 5), False, "a missing key")
    same(client.delta_initialize_and_get("number", 5, initial_value=10, initial_ttl=HOUR), 10, "which is made")
    same(client.delta_and_get("number", 5), 15, "up")
    same(client.delta_and_get("number", 1 << 40), 15 + (1 << 40), "up by a large number")
    same(client.delta_and_get("number", -(1 << 40)), 15, "down")
    same(client.delta("number", 1, no_reply=True), True, "without a reply")
    same(client.delta_and_get("number", -100), 0, "down to zero and no further")
    client.set("word", "abc", ttl=HOUR)
    refused(MemcacheError, lambda: client.delta_and_get("word", 1), "a word")


def expiry(client):
    # Two seconds, for the clock may tick between the set and the touch.
    same(client.set("longer", b"x", ttl=2), True, "set of what is touched")
    same(client.touch("longer", ttl=HOUR), True, "touch")
    same(client.touch("never", ttl=HOUR), False, "touch of a missing key")
    client.set("read", b"x", ttl=2)
    same(client.get("read", touch_ttl=HOUR), b"x", "get and touch")
    same(client.set("brief", b"x", ttl=2), True, "set with an expiry")
    waits_until(None, lambda: client.get("brief"), "it expires")
    same((client.get("longer"), client.get("read")), (b"x", b"x"), "what was touched does not")


def one_of_many_recaches(client, other):
    """Two clients want one value: who finds it missing, stale or old is told once."""
    lease = LeasePolicy(ttl=HOUR, miss_retries=2, miss_retry_wait=0.01)
    same(client.get_or_lease("leased", lease), None, "the first one has the lease")
    same(other.get_or_lease("leased", lease), None, "the second one waits in vain")
    same(client.set("leased", b"made", ttl=HOUR), True, "the first one makes it")
    same(other.get_or_lease("leased", lease), b"made", "for both")

    client.set("old", b"x", ttl=20)
    recache = RecachePolicy(ttl=30)
    same(client.get("old", recache_policy=recache), None, "what is nearly expired is missing for one")
    same(other.get("old", recache_policy=recache), b"x", "and there for the others")

    stale = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
    client.set("stale", b"x", ttl=HOUR)
    _, token = client.get_cas("stale")
    same(client.delete("stale", stale_policy=stale), True, "marked as stale")
    same(client.get("stale", recache_policy=recache), None, "missing for one")
    same(other.get("stale", recache_policy=recache), b"x", "and there for the others")
    same(client.set("stale", b"y", ttl=HOUR, cas_token=token, stale_policy=stale), True, "set with its old token")
    same(other.get("stale", recache_policy=recache), b"y", "is what the others have meanwhile")


def sizes(client):
    for size in (1, 1000, 2048, 65_536, 500_000, VALUE_BYTES_LARGE):
        value = incompressible(size)
        same(client.set("large", value, ttl=HOUR), True, f"{size} bytes")
        same(client.get("large"), value, f"{size} bytes come back")
    too_large = incompressible(VALUE_BYTES_TOO_LARGE)
    refused(MemcacheError, lambda: client.set("large", too_large, ttl=HOUR), "too large")
    waits_until(True, lambda: client.set("small", b"x", ttl=HOUR), "and it goes on")


def after_a_restart(client):
    value = incompressible(10_000)
    client.set("kept", value, ttl=HOUR)
    restart()
    comes_back(value, lambda: client.get("kept"), MemcacheError, "the item")
    same(client.set("after", b"y", ttl=HOUR), True, "and it goes on")


def client_of(host, port):
    # A server that was gone is asked again at once. The buffer is the socket's, too, and with the
    # default of 4,096 bytes a large value takes seconds from any server on the loopback device.
    pools = connection_pool_factory_builder(
        mark_down_period_s=0.01, connection_timeout=20, recv_timeout=20, read_buffer_size=262_144
    )
    return CacheClient.cache_client_from_servers([ServerAddress(host, port)], pools)


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = client_of(host, port)
    for part in (
        set_and_get,
        many,
        conditions,
        compare_and_swap,
        numbers,
        expiry,
        sizes,
    ):
        part(client)
    one_of_many_recaches(client, client_of(host, port))
    after_a_restart(client)
    passed("meta-memcache")


main()
