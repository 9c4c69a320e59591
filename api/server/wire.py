"""Checks a request's head, finds the caller behind a proxy, and makes the WSGI environ.

Pure functions of an ASGI scope and the settings; bodies, threads and keys are the bridge's (api/server/bridge.py).

X-Forwarded-* counts from a trusted address only (`trusted_proxies`), with the meaning of werkzeug's ProxyFix for one
value each. From other addresses, or malformed, it is ignored. An environ has none of these headers, and nothing of the
process's own environment.
"""

import ipaddress
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

Headers = list[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HEAD_MAX_BYTES = 64 * 1024
HOST = re.compile(rb"[A-Za-z0-9._~:\[\]-]{1,255}")
PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+){1,8}")
PORT = re.compile(r":\d+$")
FORWARDED = (b"forwarded", b"x-forwarded-")
READ = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type"))
"""Fields that the server itself reads."""
NAMES_KEPT = 256
"""Names of header fields whose keys are remembered."""
OF_ALL = {
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
"""The part of an environ that all requests share."""


class Refused(Exception):
    """A refusal that the bridge answers without Flask."""

    def __init__(self, status: int, detail: str, *, code: str | None = None, retry_after_s: int | None = None) -> None:
        self.status, self.detail, self.code, self.retry_after_s = status, detail, code, retry_after_s
        super().__init__(detail)

    @property
    def retryable(self) -> bool:
        """True where the same request may succeed later."""
        return self.status in (408, 429, 503)


class Origin(NamedTuple):
    """The caller's address, and the URL it used: `host` with its port, `prefix` the path in front of ours."""

    address: str
    scheme: str
    host: str
    prefix: str


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of a field, in their order; `name` in small letters."""
    return [value for known, value in headers if known == name]


@dataclass(slots=True)
class Head:
    """Fields of a checked head that the server itself reads. `length`: bytes of the body, None for one in chunks."""

    host: str
    length: int | None
    authorization: str
    media_type: str

    @property
    def has_body(self) -> bool:
        return self.length != 0


def read_head(scope: dict[str, Any]) -> Head:
    """Reads a head, and checks that two parsers cannot read it differently. Errors: Refused."""
    count = 0
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        count += len(name) + len(value)
        if name in READ:
            found.setdefault(name, []).append(value)
        elif b"_" in name:
            raise Refused(400, "the name of a header field has an underscore, which proxies and WSGI take for a hyphen")
    if count > HEAD_MAX_BYTES:
        raise Refused(431, f"the header fields have more than {HEAD_MAX_BYTES:,} bytes")
    if not scope["raw_path"].startswith(b"/"):
        raise Refused(400, "the request's target is not a path that begins with /")
    return Head(
        _host(found.get(b"host", []), scope),
        _length(found.get(b"content-length", []), found.get(b"transfer-encoding", [])),
        b",".join(found.get(b"authorization", [])).decode("latin-1"),
        b"".join(found.get(b"content-type", [])[:1]).decode("latin-1").partition(";")[0].strip().lower(),
    )


def _host(hosts: list[bytes], scope: dict[str, Any]) -> str:
    if len(hosts) > 1:
        raise Refused(400, "the request has more than one Host")
    if not hosts or not hosts[0]:
        if scope["http_version"] != "1":
            raise Refused(400, "the request has no Host, which HTTP/1.1 demands")
        return "{}:{}".format(*scope["server"])
    if not HOST.fullmatch(hosts[0]):
        raise Refused(400, "the Host is not the name or address of a host")
    return hosts[0].decode("latin-1")


def _length(lengths: list[bytes], codings: list[bytes]) -> int | None:
    """Bytes of the body: 0 without one, None in chunks."""
    if codings and lengths:
        raise Refused(400, "the request has both Content-Length and Transfer-Encoding")
    if codings:
        if [coding.strip().lower() for coding in codings] != [b"chunked"]:
            raise Refused(501, "the body comes in a transfer coding that is not read here; chunked is")
        return None
    if not lengths:
        return 0
    if len(set(lengths)) > 1 or not lengths[0].isdigit():
        raise Refused(400, "the Content-Length is not one number")
    return int(lengths[0])


def has_body(headers: Headers) -> bool:
    """True where the head, which may be unchecked, announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")) for name, value in headers
    )


def is_chunked(headers: Headers) -> bool:
    """True where the head, which may be unchecked, announces a body in chunks."""
    return any(name == b"transfer-encoding" for name, _ in headers)


def origin(scope: dict[str, Any], head: Head, trusted: tuple[Network, ...]) -> Origin:
    """The caller: the peer, or, behind a trusted proxy, the client that the proxy names."""
    headers: Headers = scope["headers"]
    peer = scope["client"][0]
    if not trusted or not _within(peer, trusted):
        return Origin(peer, scope["scheme"], head.host, "")
    said_scheme, said_host, said_prefix = (
        _last(headers, name) for name in (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix")
    )
    return Origin(
        _client(peer, headers, trusted),
        said_scheme if said_scheme in ("http", "https") else scope["scheme"],
        said_host if HOST.fullmatch(said_host.encode("latin-1")) else head.host,
        said_prefix.rstrip("/") if PREFIX.fullmatch(said_prefix.rstrip("/")) else "",
    )


def environ(scope: dict[str, Any], came_from: Origin, bytes_sent: int) -> dict[str, Any]:
    """The environ of PEP 3333, without `wsgi.input`, for a body of `bytes_sent` bytes."""
    host, _, port = came_from.host.rpartition(":") if PORT.search(came_from.host) else (came_from.host, "", "")
    path: bytes = scope["raw_path"]
    made = {
        **OF_ALL,
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": came_from.prefix,
        "PATH_INFO": (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": port or ("443" if came_from.scheme == "https" else "80"),
        "REMOTE_ADDR": came_from.address,
        "HTTP_HOST": came_from.host,
        "CONTENT_LENGTH": str(bytes_sent),
        "wsgi.url_scheme": came_from.scheme,
    }
    for name, value in scope["headers"]:
        if (key := _key(name)) is not None:
            text = value.decode("latin-1")
            made[key] = f"{made[key]},{text}" if key in made else text
    return made


@lru_cache(NAMES_KEPT)
def _key(name: bytes) -> str | None:
    """The environ's key of a header field; None for one that no environ has."""
    if name in (b"host", b"content-length", b"transfer-encoding", b"proxy") or name.startswith(FORWARDED):
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


def _client(peer: str, headers: Headers, trusted: tuple[Network, ...]) -> str:
    """The nearest address of X-Forwarded-For, from the right, that is not itself a trusted proxy's."""
    chain = b",".join(values(headers, b"x-forwarded-for")).decode("latin-1").split(",")
    nearest = peer
    for said in reversed([part.strip() for part in chain if part.strip()]):
        try:
            nearest = str(ipaddress.ip_address(said.strip("[]")))
        except ValueError:
            return nearest
        if not _within(nearest, trusted):
            return nearest
    return nearest


def _last(headers: Headers, name: bytes) -> str:
    given = values(headers, name)
    return given[-1].decode("latin-1").rpartition(",")[2].strip() if given else ""
