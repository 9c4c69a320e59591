"""An input's source becomes a local file: https, s3 or an upload; nothing private is ever reached.

`check_allowed` (allowed.py) judges the words at submit, `fetch` judges them again, resolves a host name once, checks
the address and connects to that very address, so that a name that changes between check and use is
no way in. Redirects are followed by hand, each judged the same way. A fetch hears within a second that it is
canceled, whatever it waits for, and gives up on who is silent or drips.
"""

import hashlib
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore
import httpx

from tasks.apart import BUCKETS, NAMES
from tasks.bucket.allowed import Address, check_allowed, check_host, literal, may_reach, private
from tasks.bucket.connections import Connections
from tasks.bucket.storage import Storage
from tasks.errors import Canceled, InputUnreachable, InvalidInput, NotFound, TooLarge
from tasks.inputs import check_source
from tasks.job import Upload, redacted
from tasks.settings import Settings

CONNECT_S = 5.0
READ_S = 30.0
HEAD_S = 60.0
"""From the resolver to the end of the answer's head."""
OVERALL_S = 1800.0
LOWEST_BYTES_S, SLOW_S = 1000, 30.0
"""A body must come at so many bytes a second at least, on average of each SLOW_S."""
CHUNK = 1024 * 1024
REDIRECTS = 5
RECOVERS = {408, 425, 429}
PACKED = ("gzip", "deflate")
MOVED = {301, 302, 303, 307, 308}


def fetch(
    source: str,
    target: Path,
    *,
    tenant: str,
    max_bytes: int,
    settings: Settings,
    storage: Storage,
    uploads: Mapping[str, Upload],
    canceled: Callable[[], bool] = lambda: False,
    within_s: float | None = None,
    find: Callable[[str], tuple[str, int] | str] | None = None,
) -> str:
    """Stream a source into `target`, within `within_s` (OVERALL_S where not given); its SHA-256 in hex. A fetch from a
    bucket that is canceled may go on to write to `target` for a while. `find(source)` gives the key and the bytes, or
    the text, that a source job:<id> means.

    Errors: InvalidInput (not allowed, or an upload that changed since the submit), TooLarge (more than
    `max_bytes`), InputUnreachable (retryable where the other side may recover), StorageUnavailable,
    Canceled.
    """
    check_allowed(source, tenant, settings)
    watch = _Watch(source, OVERALL_S if within_s is None else within_s, canceled)
    scheme = urlsplit(source).scheme
    if scheme == "job":
        if find is None:
            raise InvalidInput(f"{source} was named by a submit that does not wait for it")
        return BUCKETS.call(partial(_fetch_of_job, source, target, max_bytes, storage, find, watch), watch)
    if scheme == "upload":
        return BUCKETS.call(partial(_fetch_upload, source, target, max_bytes, storage, uploads, watch), watch)
    if scheme == "s3":
        return BUCKETS.call(partial(_fetch_s3, source, target, max_bytes, storage, watch), watch)
    return _fetch_http(source, target, max_bytes, settings, watch)


class _Watch:
    """The limits of one fetch, checked while it waits."""

    def __init__(self, source: str, within_s: float, canceled: Callable[[], bool]) -> None:
        self._shown, self._within_s, self._canceled = redacted(source), within_s, canceled
        self._end = time.monotonic() + within_s
        self._head_end: float | None = None

    def expect_head(self) -> None:
        self._head_end = time.monotonic() + HEAD_S

    def head_came(self) -> None:
        self._head_end = None

    def __call__(self) -> None:
        """Errors: Canceled, InputUnreachable."""
        if self._canceled():
            raise Canceled("the job was canceled while its input was fetched")
        now = time.monotonic()
        if now > self._end:
            raise InputUnreachable(f"{self._shown} took longer than the {self._within_s:g} s allowed", retryable=True)
        if self._head_end is not None and now > self._head_end:
            raise InputUnreachable(f"{self._shown} did not answer in time: {HEAD_S:g} s are allowed", retryable=True)


# -- the bucket, and others' buckets


def _fetch_upload(
    source: str,
    target: Path,
    max_bytes: int,
    storage: Storage,
    uploads: Mapping[str, Upload],
    check: Callable[[], None],
) -> str:
    upload_id = source.removeprefix("upload:")
    upload = uploads.get(upload_id)
    if upload is None:
        raise InvalidInput(f"this job was submitted without the upload {upload_id}")
    _check_size(source, upload.bytes, max_bytes)
    seen = storage.head(upload.key)
    if seen is None:
        raise InvalidInput(f"the upload {upload_id} is no longer there")
    if (seen.bytes, seen.etag) != (upload.bytes, upload.etag):
        raise InvalidInput(f"the upload {upload_id} was changed after the submit")
    return storage.get_file(upload.key, target, max_bytes, check=check)[1]


def _fetch_of_job(
    source: str,
    target: Path,
    max_bytes: int,
    storage: Storage,
    find: Callable[[str], tuple[str, int] | str],
    check: Callable[[], None],
) -> str:
    found = find(source)
    if isinstance(found, str):
        data = found.encode()
        _check_size(source, len(data), max_bytes)
        target.write_bytes(data)
        return hashlib.sha256(data).hexdigest()
    key, size = found
    _check_size(source, size, max_bytes)
    try:
        return storage.get_file(key, target, max_bytes, check=check)[1]
    except NotFound as error:
        raise InvalidInput(f"{source} is no longer there") from error


def _fetch_s3(source: str, target: Path, max_bytes: int, storage: Storage, check: Callable[[], None]) -> str:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    try:
        return storage.get_file(key, target, max_bytes, bucket=bucket, check=check)[1]
    except NotFound as error:
        raise InputUnreachable(f"{source} is not there") from error
    except TooLarge:
        raise TooLarge(_too_large(source, max_bytes)) from None


# -- the web


def _fetch_http(url: str, target: Path, max_bytes: int, settings: Settings, watch: _Watch) -> str:
    """Follow redirects, then stream the body."""
    shown = redacted(url)
    for _ in range(REDIRECTS + 1):
        watch.expect_head()
        with _unreachable(url), _get(url, settings, watch) as response:
            watch.head_came()
            if response.status not in MOVED:
                _check_status(url, response.status)
                return _save(url, response, target, max_bytes, watch)
            url = _next(url, _header(response, b"location"), settings)
    raise InputUnreachable(f"{shown} redirects more than {REDIRECTS} times")


@contextmanager
def _get(url: str, settings: Settings, watch: _Watch) -> Iterator[httpcore.Response]:
    """Ask the one address that was checked; certificate and Host stay those of the name. No proxy is asked, which
    would resolve by itself."""
    asked = httpx.URL(url)
    address = pinned_address(urlsplit(url), settings, watch)
    pinned = httpcore.URL(scheme=asked.raw_scheme, host=str(address).encode(), port=asked.port, target=asked.raw_path)
    headers: dict[str | bytes, str | bytes] = {
        "Host": asked.netloc.decode(),
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "backlot",
    }
    how = {
        "sni_hostname": asked.raw_host.decode(),
        "timeout": {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": CONNECT_S},
    }
    with (
        httpcore.ConnectionPool(ssl_context=tls(), network_backend=Connections(watch)) as pool,
        pool.stream("GET", pinned, headers=headers, extensions=how) as response,
    ):
        yield response


def _header(response: httpcore.Response, name: bytes) -> str:
    """The last of that name, in lower case; '' where there is none."""
    return next((value.decode("latin-1") for key, value in reversed(response.headers) if key.lower() == name), "")


@cache
def tls() -> ssl.SSLContext:
    """The authorities that certifi knows, or SSL_CERT_FILE's; reading them takes a while."""
    return httpx.create_ssl_context()


def _save(url: str, response: httpcore.Response, target: Path, max_bytes: int, check: Callable[[], None]) -> str:
    declared = _header(response, b"content-length")
    _check_size(url, int(declared) if declared.isdecimal() else 0, max_bytes)
    whole, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in _unpacked(url, response):
            size += len(chunk)
            _check_size(url, size, max_bytes)
            check()
            whole.update(chunk)
            file.write(chunk)
    return whole.hexdigest()


def _raw(url: str, response: httpcore.Response) -> Iterator[bytes]:
    """The body as it comes. Errors: InputUnreachable where it comes too slowly."""
    since, came = time.monotonic(), 0
    for chunk in response.iter_stream():
        came += len(chunk)
        now = time.monotonic()
        if now - since >= SLOW_S:
            if came < LOWEST_BYTES_S * (now - since):
                raise InputUnreachable(
                    f"{redacted(url)} sent {came:,} bytes in {now - since:.0f} s; less than {LOWEST_BYTES_S:,} bytes a "
                    f"second on average of {SLOW_S:g} s is not waited for",
                    retryable=True,
                )
            since, came = now, 0
        yield chunk


def _unpacked(url: str, response: httpcore.Response) -> Iterator[bytes]:
    """The body in pieces of CHUNK at most, whatever it is packed into: a body packed twice could become any size in one
    piece, before anybody counts."""
    packed = _header(response, b"content-encoding").strip().lower()
    if packed in ("", "identity"):
        yield from _raw(url, response)
        return
    if packed not in PACKED:
        raise InputUnreachable(f"{redacted(url)} comes packed as {packed[:40]!r}; {' and '.join(PACKED)} are unpacked")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib and gzip told apart by their beginnings
    try:
        for left in _raw(url, response):
            while left and not unpack.eof:
                yield unpack.decompress(left, CHUNK)
                left = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error as error:
        raise InputUnreachable(f"{redacted(url)} is not the {packed} that it says it is", retryable=True) from error
    if not unpack.eof:
        raise InputUnreachable(f"{redacted(url)} breaks off", retryable=True)


def _next(url: str, location: str, settings: Settings) -> str:
    """The target of a redirect, checked like the first URL."""
    target = urljoin(url, location)
    try:
        if not location or urlsplit(check_source(target)).scheme not in ("http", "https"):
            raise InvalidInput("it leads nowhere on the web")
        check_host(urlsplit(target), settings)
    except (ValueError, InvalidInput) as error:
        raise InvalidInput(f"{redacted(url)} redirects to where an input may not come from: {error}") from error
    return target


def _check_status(url: str, status: int) -> None:
    if status != 200:
        raise InputUnreachable(f"{redacted(url)} answered {status}", retryable=status >= 500 or status in RECOVERS)


@contextmanager
def _unreachable(url: str) -> Iterator[None]:
    """httpcore's errors as ours. Those of a connection may pass; those of the words will not."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise InputUnreachable(f"{redacted(url)} did not answer in time", retryable=True) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise InputUnreachable(f"{redacted(url)} could not be read ({error})", retryable=True) from error
    except (httpcore.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InputUnreachable(f"{redacted(url)} could not be read ({type(error).__name__})") from error


# -- hosts and addresses


def pinned_address(parts: SplitResult, settings: Settings, check: Callable[[], None]) -> Address:
    """The address to connect to: the first of the name's that may be reached."""
    host = parts.hostname or ""
    addresses = literal(host) or _resolved(host, check)
    allowed = [address for address in addresses if may_reach(host, address, settings)]
    if not allowed:
        raise InvalidInput(private(host))
    return allowed[0]


def _resolved(host: str, check: Callable[[], None]) -> list[Address]:
    try:
        found = NAMES.call(partial(resolve, host), check)
        return [ipaddress.ip_address(address.partition("%")[0]) for address in found]
    except (OSError, ValueError) as error:  # UnicodeError among them
        raise InputUnreachable(f"the host {host} was not found", retryable=True) from error


def resolve(host: str) -> list[str]:
    """The addresses of a host, in the resolver's order."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


def _check_size(source: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(_too_large(source, max_bytes))


def _too_large(source: str, max_bytes: int) -> str:
    return f"{redacted(source)} has more than the {max_bytes} bytes that this input may have"
