"""pylibmc's ketama ring over two servers.

    python3 ring_client.py HOST:PORT HOST:PORT keeps|forgets

Stores a number of keys, reads them, has both servers restarted, and reads and stores them again. Where
each key went is for the caller to look at.
"""

import sys

import pylibmc
from checking import comes_back, passed, restart, same

KEYS = 2000


def main():
    client = pylibmc.Client(sys.argv[1:3], behaviors={"ketama": True, "tcp_nodelay": True, "retry_timeout": 1})
    values = {f"ring:{number}": f"ring:{number}" for number in range(KEYS)}
    same(client.set_multi(values), [], "all are stored")
    same(client.get_multi(list(values)), values, "and found")
    restart()
    for key in list(values)[:20]:
        comes_back(values[key], lambda: client.get(key), pylibmc.Error, "a key of one of the servers")
    if sys.argv[3] == "keeps":
        same(client.get_multi(list(values)), values, "after a restart nothing is lost")
    same(client.set_multi(values), [], "and it goes on")
    passed("pylibmc, ketama")


main()
