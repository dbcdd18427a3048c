"""Clients of the daemon in the bed.

load.py fill N               stores N items, in place of all others
load.py check N              all of them are there, and no other is missing
load.py crash ROUNDS N       kills the daemon ROUNDS times; it comes back each time with the N items
load.py back PID             waits until a daemon other than PID answers
load.py restarts COMMAND...  runs the command while clients connect; none may be refused
load.py stop COMMAND...      runs the command while clients write; prints what was acknowledged
load.py kept FILE            everything that `stop` printed is there
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

ADDRESS = ("127.0.0.1", 60000)
UNIX = "/run/litecached/litecached.sock"


class Client:
    def __init__(self, address=ADDRESS):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(address)
        self.file = self.socket.makefile("rwb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, request):
        self.file.write(request)
        self.file.flush()
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the connection ended")
        return line

    def set(self, key, value):
        return self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"

    def get(self, key):
        line = self.ask(b"get %s\r\n" % key)
        if line == b"END\r\n":
            return None
        value = self.file.read(int(line.split()[3]) + 2)[:-2]
        assert self.file.readline() == b"END\r\n"
        return value

    def stat(self, name):
        found = None
        line = self.ask(b"stats\r\n")
        while line != b"END\r\n":
            words = line.split()
            if words[1] == name:
                found = int(words[2])
            line = self.file.readline()
        return found


def key(number):
    return b"item-%d" % number


def fill(count):
    with Client() as client:
        assert client.ask(b"flush_all\r\n") == b"OK\r\n"
        for number in range(count):
            assert client.set(key(number), b"value of %d " % number * (number % 50))


def check(count, client=None):
    client = client or Client()
    for number in range(count):
        assert client.get(key(number)) == b"value of %d " % number * (number % 50), number
    assert client.stat(b"curr_items") >= count


def back(pid, seconds=30):
    """Waits for another daemon than `pid`, without leaving the port any peace."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client = Client()
            if client.stat(b"pid") != pid:
                return client
        except (ConnectionError, socket.timeout):
            pass
        time.sleep(0.002)
    sys.exit("the daemon did not come back")


def crash(rounds, count):
    times = []
    client = Client()
    for _ in range(rounds):
        pid = client.stat(b"pid")
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        client = back(pid)
        times.append((time.monotonic() - start) * 1000)
        assert client.stat(b"curr_items") == count
        for number in range(0, count, 97):
            assert client.get(key(number)) is not None
    check(count)
    median = statistics.median(times)
    print(f"  killed {rounds} times: back after {median:.0f} ms (median), {max(times):.0f} ms at most")
    load, cores = os.getloadavg()[0], os.cpu_count()
    if load > 2 * cores:
        print(f"  not judged: others keep the machine busy (load {load:.0f} on {cores} cores)")
    else:
        assert median < 500


def restarts(command):
    done = threading.Event()
    counts = {"answered": 0, "refused": 0, "ended": 0}

    def knock(address):
        while not done.is_set():
            try:
                with Client(address) as client:
                    client.ask(b"version\r\n")
                    counts["answered"] += 1
            except (ConnectionRefusedError, FileNotFoundError, PermissionError):
                counts["refused"] += 1
            except ConnectionError:
                # Accepted by the daemon that went.
                counts["ended"] += 1

    threads = [threading.Thread(target=knock, args=(at,)) for at in (ADDRESS, ADDRESS, UNIX)]
    for thread in threads:
        thread.start()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    before = counts["answered"]
    end = time.monotonic() + 20
    while counts["answered"] < before + 20 and time.monotonic() < end:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    print(f"  {counts}")
    assert counts["refused"] == 0 and counts["answered"] > before


def stop(command):
    kept = []

    def write(name):
        number = 0
        try:
            with Client() as client:
                while True:
                    if client.set(b"load-%d-%d" % (name, number), b"x" * 200):
                        kept.append((name, number))
                    number += 1
        except ConnectionError:
            pass

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    start = time.monotonic()
    subprocess.run(command, check=True)
    took = time.monotonic() - start
    for thread in threads:
        thread.join()
    print(f"  stopped in {took * 1000:.0f} ms, {len(kept)} writes acknowledged", file=sys.stderr)
    assert took < 15 and kept
    for name, number in kept:
        print(name, number)


def kept(file):
    with Client() as client, open(file, encoding="ascii") as lines:
        for line in lines:
            name, number = map(int, line.split())
            assert client.get(b"load-%d-%d" % (name, number)) == b"x" * 200, line


def main(what, *words):
    match what:
        case "fill":
            fill(int(words[0]))
        case "check":
            check(int(words[0]))
        case "crash":
            crash(int(words[0]), int(words[1]))
        case "back":
            back(int(words[0]))
        case "restarts":
            restarts(words)
        case "stop":
            stop(words)
        case "kept":
            kept(words[0])
        case _:
            sys.exit(__doc__)


main(*sys.argv[1:])
