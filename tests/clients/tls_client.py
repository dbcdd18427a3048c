"""pymemcache with a TLS context of Python's own: a large value, many at once, and who is not trusted.

Called with HOST PORT and the certificate of the authority to trust.
"""

import ssl
import sys

from checking import VALUE_BYTES_LARGE, passed, refused, same
from pymemcache.client.base import Client

place, authority = ("localhost", int(sys.argv[2])), sys.argv[3]
client = Client(place, tls_context=ssl.create_default_context(cafile=authority), timeout=20)
value = (bytes(range(256)) * 4096)[:VALUE_BYTES_LARGE]
same(client.set("k", value, noreply=False), True, "a large value")
same(client.get("k"), value, "a large value")
client.set_many({f"k{n}": str(n) for n in range(1000)})
same(len(client.get_many([f"k{n}" for n in range(1000)])), 1000, "many")
client.quit()

stranger = Client(place, tls_context=ssl.create_default_context(), timeout=20)
refused(ssl.SSLCertVerificationError, stranger.version, "whom nobody known has signed")
passed("pymemcache with TLS")
