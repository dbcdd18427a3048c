"""What the Python clients' scripts share: comparing, waiting, and a restart of the server between.

A script is called with HOST PORT and `keeps` or `forgets`: whether the server has its items after a
restart, as litecached does and memcached does not. It ends with 0 and `passed: ...`, or with a traceback.
"""

import os
import sys
import time

# With a short key memcached's default item limit of 1 MiB leaves more than this for the value.
VALUE_BYTES_LARGE = 1_048_000
VALUE_BYTES_TOO_LARGE = 1_048_577

ALL_BYTES = bytes(range(256)) * 16 + b"\r\nEND\r\n"

checks = 0


def same(got, wanted, what):
    global checks
    checks += 1
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r:.200}, wanted {wanted!r:.200}")


def refused(kind, call, what):
    global checks
    checks += 1
    try:
        got = call()
    except kind:
        return
    raise AssertionError(f"{what}: got {got!r:.200}, wanted {kind.__name__}")


def waits_until(wanted, probe, what, patience_s=10):
    """Asks again until the answer is there: expiry is whole seconds."""
    deadline = time.monotonic() + patience_s
    while (got := probe()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    same(got, wanted, what)


def restart():
    """Has the server killed and started on the same port."""
    print("restart", flush=True)
    same(sys.stdin.readline(), "restarted\n", "the answer of who restarts the server")


def comes_back(wanted, probe, errors, what):
    """Asks until a client has noticed that its old connection is dead. It may say so, by these errors."""

    def answer():
        try:
            return probe()
        except errors:
            return errors

    waits_until(wanted if keeps() else None, answer, what)


def keeps():
    return sys.argv[3] == "keeps"


def incompressible(size):
    """Bytes that a client which compresses sends as they are."""
    return os.urandom(size)


def passed(client):
    print(f"passed: {client}, {checks} checks")
