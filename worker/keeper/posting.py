"""Posts one message to a receiver: to the address that was checked, within POST_S, following no redirect.

It knows HTTP and which addresses may be reached; not what the message says or when it is sent.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

import httpcore
import httpx

from tasks.bucket.allowed import check_host
from tasks.bucket.connections import Connections
from tasks.bucket.fetch import pinned_address, tls
from tasks.errors import BacklotError
from tasks.settings import Settings

POST_S = 15.0
"""Seconds for all of it: look-up, connect, TLS, sending, and the head of the answer, whose body is not read."""
REDIRECTS = range(300, 400)
NO_ANSWER = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, httpx.InvalidURL)


@dataclass(frozen=True)
class Reply:
    """The outcome of a try. `status`: None where no answer came. `late`: it took all of its time. `retry_after_s`: as
    asked. `ends`: a failure that no further try mends."""

    status: int | None
    detail: str
    retry_after_s: float = 0
    late: bool = False
    ends: bool = False

    @property
    def final(self) -> Literal["off", "failed"] | None:
        """The outcome where no further try is made."""
        return "off" if self.status == 410 else "failed" if self.ends else None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class _Late(Exception):
    """POST_S are over."""


def post(url: str, headers: dict[str, str], body: bytes, settings: Settings) -> Reply:
    """Send the message. Whatever goes wrong is a reply."""
    check = _until(time.monotonic() + POST_S)
    try:
        return _post(url, headers, body, settings, check)
    except (_Late, httpcore.TimeoutException):
        return Reply(None, f"no answer within {POST_S:g} s", late=True)
    except BacklotError as error:  # of the host or its address
        return Reply(None, error.detail)
    except (*NO_ANSWER, ValueError, OSError) as error:
        return Reply(None, f"no answer ({type(error).__name__})")


def _post(url: str, headers: dict[str, str], body: bytes, settings: Settings, check: Callable[[], None]) -> Reply:
    parts, asked = urlsplit(url), httpx.URL(url)
    check_host(parts, settings)
    address = pinned_address(parts, settings, check)
    target = httpcore.URL(scheme=asked.raw_scheme, host=str(address).encode(), port=asked.port, target=asked.raw_path)
    sent: dict[str | bytes, str | bytes] = {
        "Host": asked.netloc.decode(),
        "User-Agent": "backlot",
        "Content-Length": str(len(body)),
    }
    sent.update(headers)
    timeouts = {"connect": POST_S, "read": POST_S, "write": POST_S, "pool": POST_S}
    how = {"sni_hostname": asked.raw_host.decode(), "timeout": timeouts}
    with (
        httpcore.ConnectionPool(ssl_context=tls(), network_backend=Connections(check)) as pool,
        pool.stream("POST", target, headers=sent, content=body, extensions=how) as response,
    ):
        status = response.status
        wait = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    told = "; a webhook follows no redirect" if status in REDIRECTS else ""
    return Reply(status, f"answered {status}{told}", _seconds(wait.decode("latin-1")))


def _until(end: float) -> Callable[[], None]:
    def check() -> None:
        if time.monotonic() > end:
            raise _Late

    return check


def _seconds(retry_after: str) -> float:
    """The header Retry-After, seconds or a date, as seconds from now; 0 where it is neither."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0
