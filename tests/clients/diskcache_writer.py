"""Writes caches with python-diskcache, for an import: a folder for each kind of cache.

With "hold" the writer waits with its caches open until its input ends.
"""

import os
import sys
import time

import diskcache

folder, words = sys.argv[1], sys.argv[2:]
later = time.time() + 5000


def fill(cache):
    cache.set("text", "grüße")
    cache.set("empty", "")
    cache.set(b"bytes\x00\xff", bytes(range(256)))
    cache.set(7, 42)
    cache.set(-1.5, 1e16)
    cache.set("float", 0.1)
    cache.set("timed", "soon over", expire=5000.5)
    cache.set("tagged", "t", tag="group")
    cache.set("long text", "ä\n" * 40_000)
    cache.set("long bytes", bytes(range(256)) * 400)
    cache.set("stream", open(__file__, "rb"), read=True)
    cache.set("huge", b"x" * 2_000_000)
    cache.set("pickle", {"a": [1, 2]})
    cache.set("long pickle", list(range(50_000)))
    cache.set("none", None)
    cache.set("wide", 2**70)
    cache.set(("a", "tuple"), "x")
    cache.set("k" * 251, "x")
    for number in range(500):
        cache.set("k%d" % number, "value %d" % number)
    # The last, for what has expired goes with the next write.
    cache.set("over", "x", expire=0.001)


plain = diskcache.Cache(os.path.join(folder, "plain"))
fill(plain)
fanout = diskcache.FanoutCache(os.path.join(folder, "fanout"), shards=4)
fill(fanout)
json = diskcache.Cache(os.path.join(folder, "json"), disk=diskcache.JSONDisk)
json.set("a", {"b": 1})
json.close()
if "hold" in words:
    print("written", flush=True)
    sys.stdin.read()
plain.close()
fanout.close()
print("written")
