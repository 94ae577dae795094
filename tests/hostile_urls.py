"""URLs that no tenant may make this platform connect to."""

import socket
from typing import Any

import pytest

# PORT is the port of a server on loopback that must not be reached.
HOSTILE = [
    # Loopback in its notations, some of which only the C library accepts.
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0x7F.1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.000.000.001:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://127.255.255.254:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    # Non-ASCII characters: full-width digits, circled ones, ideographic full stops.
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://127。0。0。1:PORT/",
    "http://ⓛocalhost:PORT/",
    "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661:PORT/",
    # IPv6, and IPv4 embedded in it.
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[::1%25lo]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://[ff02::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "http://[100::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[::1]evil.example:PORT/",
    "http://::1:PORT/",
    # Private, metadata and other special-purpose addresses.
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/iam",
    "http://169.254.170.2/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://203.0.113.5/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "https://10.0.0.1/",
    # URLs whose host differs between parsers.
    "http://user@127.0.0.1:PORT/",
    "http://user:password@public.test:PORT/",
    "http://public.test@127.0.0.1:PORT/",
    "http://public.test%40127.0.0.1:PORT/",
    "http://public.test:80@127.0.0.1:PORT/",
    "http://public.test:80:PORT/",
    "http://127.0.0.1:PORT\\@public.test/",
    "http://public.test\\.127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@public.test/",
    "http://127.0.0.1:PORT?@public.test/",
    "http:///127.0.0.1:PORT/",
    "http:127.0.0.1:PORT/",
    "//127.0.0.1:PORT/",
    "http://127.0.0.1%00.public.test:PORT/",
    "http://127.0.0.1\x00.public.test:PORT/",
    "http://127.0.0.1:PORT\r\nHost: public.test/",
    "http://127.0.0.1\t:PORT/",
    " http://127.0.0.1:PORT/",
    "http://public.test:0/",
    "http://public.test:65536/",
    "http://public.test:-1/",
    "http://public.test:8e1/",
    "http://public.test:/",
    "http://:PORT/",
    "http://.public.test/",
    "http://a..test/",
    "http://-/",
    "http://" + "a" * 64 + ".test/",
    "http://" + "a." * 127 + "test/",
    "http://{host}:PORT/",
    "http://{{secret.host}}:PORT/",
    "http://public.test:{port}/",
    "{scheme}://public.test/",
    # Other schemes.
    "file:///etc/passwd",
    "ftp://public.test/",
    "gopher://127.0.0.1:PORT/_GET",
    "dict://127.0.0.1:PORT/",
    "unix:/run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "HTTPS\x0b://public.test/",
    # Names whose addresses are not public; see `RESOLVED`.
    "http://private.test:PORT/",
    "http://mixed.test:PORT/",
    "http://mapped.test:PORT/",
    "http://nat64.test:PORT/",
    "http://zone.test:PORT/",
    "http://metadata.test/",
    "http://empty.test/",
    "http://bad.test/",
]
RESOLVED = {
    "public.test": ["93.184.215.14"],
    "private.test": ["10.1.2.3"],
    "mixed.test": ["93.184.215.14", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::a00:1"],
    "zone.test": ["fe80::1%lo"],
    "metadata.test": ["169.254.169.254"],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "empty.test": [],
    "bad.test": ["not an address"],
}


def resolve_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Resolve names from `RESOLVED` alone. Return a list, to which the look-ups are added."""
    looked_up: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        looked_up.append(host)
        try:
            return [(2, 1, 6, "", (text, port)) for text in RESOLVED[host]]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looked_up
