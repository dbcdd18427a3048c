"""Many clients of the old dialect at once, one of which stops in the middle of a value.

    python3 old_client.py HOST PORT [--dialect memcached]

The old client sent `set KEY SIZE`, the value, and `get KEY`, one connection each. Every client here
stores and reads values from one byte to the size limit and asks for a key that is not there. One of
them sends half a value and waits until all others are done, and for two seconds at least; then the
rest. `--dialect memcached` sends memcached's `set` instead, to try the script on memcached.
"""

import random
import socket
import sys
import threading
import time

CLIENTS = 20
PAUSE_S_LEAST = 2
PATIENCE_S = 60
# With these keys memcached's default item limit of 1 MiB leaves a little more than this.
VALUE_BYTES_MAX = 1_048_000
SIZES = (1, 2, 100, 2047, 2048, 2049, 65_536, VALUE_BYTES_MAX)

others_done = threading.Semaphore(0)
failures = []


class OldClient:
    def __init__(self, host, port, classic):
        self.classic = classic
        self.socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self.replies = self.socket.makefile("rb")

    def line(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise AssertionError(f"a reply that ends without CRLF: {line!r:.200}")
        return line[:-2]

    def set(self, key, value, end, in_the_middle=lambda: None):
        words = f"set {key} 0 0 {len(value)}" if self.classic else f"set {key} {len(value)}"
        half = len(value) // 2
        self.socket.sendall(words.encode() + b"\r\n" + value[:half])
        in_the_middle()
        self.socket.sendall(value[half:] + (b"\r\n" if self.classic else end))
        reply = self.line()
        if reply != b"STORED":
            raise AssertionError(f"set {key} of {len(value)} bytes: {reply!r:.200}")

    def get(self, key):
        self.socket.sendall(f"get {key}\r\n".encode())
        first = self.line()
        if first == b"END":
            return None
        word, name, flags, size = first.split(b" ")
        if (word, name, flags) != (b"VALUE", key.encode(), b"0"):
            raise AssertionError(f"get {key}: {first!r:.200}")
        value = self.replies.read(int(size))
        if (self.line(), self.line()) != (b"", b"END"):
            raise AssertionError(f"get {key}: no END after the value")
        return value


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r:.100}, wanted {wanted!r:.100}")


def work(number, host, port, classic):
    client = OldClient(host, port, classic)
    choice = random.Random(number)
    for size in SIZES:
        key = f"client{number}-{size}"
        value = choice.randbytes(size)
        # The old client ended a value with either.
        client.set(key, value, choice.choice([b"\n", b"\r\n"]))
        expect(client.get(key), value, key)
        expect(client.get(f"missing{number}"), None, "a missing key")
    for size in SIZES:
        key = f"client{number}-{size}"
        expect(len(client.get(key) or b""), size, f"{key} at the end")


def pause(number, host, port, classic):
    client = OldClient(host, port, classic)
    value = random.Random(number).randbytes(10_000)

    def wait_for_the_others():
        start = time.monotonic()
        for _ in range(CLIENTS - 1):
            if not others_done.acquire(timeout=PATIENCE_S):
                raise AssertionError("the others did not finish while one client paused")
        time.sleep(max(0, PAUSE_S_LEAST - (time.monotonic() - start)))

    client.set(f"paused{number}", value, b"\n", wait_for_the_others)
    expect(client.get(f"paused{number}"), value, "the value with the pause")


def run(number, host, port, classic):
    try:
        (pause if number == 0 else work)(number, host, port, classic)
    except Exception as error:
        failures.append(f"client {number}: {error!r}")
    finally:
        if number != 0:
            others_done.release()


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    classic = sys.argv[3:] == ["--dialect", "memcached"]
    threads = [
        threading.Thread(target=run, args=(number, host, port, classic), daemon=True)
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE_S)
        if thread.is_alive():
            failures.append(f"{thread.name} hangs")
    if failures:
        sys.exit("\n".join(failures))
    print(f"passed: {CLIENTS} clients")


main()
