"""Sends one client's requests and retries those that another try may answer. Knows HTTP and no route of the API.

A request is retried when the API refused it for the moment (429, 503), or when its answer was lost.
"""

import contextlib
import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import httpx

TRIES = 6
"""Attempts of one request."""
FIRST_ANSWER_S = 2
"""Seconds for which a connection is retried while this address has never answered."""
BACKOFF_S = 0.25
"""Seconds of the backoff before it is doubled; the delay is drawn between 0 and the backoff."""
BACKOFF_MAX_S = 10
CONNECT_S = 5
ANSWER_S = 90
"""Seconds without a byte of the answer; longer than the API holds a request (`Prefer: wait`)."""
LOCAL_URL = "http://127.0.0.1:8080"

OnRetry = Callable[["ApiError", float], None]


class ApiError(Exception):
    """A refusal in the API's own words; `problem` is its whole body. `status` 0: there was no answer."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, dict(problem)
        self.code: str = problem.get("code", "unknown")
        self.detail: str = problem.get("detail", "")
        self.retryable: bool = problem.get("retryable", False)
        super().__init__(f"{self.detail} ({self.code})")


class Sender:
    """The connection to one API with one key. Every method raises ApiError."""

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None, on_retry: OnRetry) -> None:
        """`on_retry(error, seconds)` is called before the wait for each retry. Errors: ValueError for a malformed URL
        or key."""
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key (BACKLOT_API_KEY) has characters that no key has")
        self.url = _base(url)
        self._on_retry, self._was_answered = on_retry, False
        self.http = httpx.Client(
            base_url=self.url, transport=transport, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer, with a status below 400."""
        return self.retried(lambda: self.http.request(method, path, timeout=timeout(ANSWER_S), **more))

    def stream(self, path: str) -> Generator[str, None, None]:
        """The lines of an answer as they come, to its end or until the connection is lost."""

        def send() -> httpx.Response:
            request = self.http.build_request("GET", path, timeout=timeout(ANSWER_S))
            response = self.http.send(request, stream=True)
            if response.status_code >= 400:
                response.read()
            return response

        with contextlib.closing(self.retried(send)) as response:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise self._not_the_api(response, "without a stream of events")
            with contextlib.suppress(httpx.TransportError):
                yield from response.iter_lines()

    def document(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """The JSON object of the answer."""
        return self.read(self.request(method, path, **more))

    def rows(self, method: str, path: str, **more: Any) -> list[dict[str, Any]]:
        """The list `data` of the answer."""
        response = self.request(method, path, **more)
        rows = self.read(response).get("data")
        if not isinstance(rows, list):
            raise self._not_the_api(response, "without a list `data`")
        return rows

    def read(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object of an answer. A server that is not Backlot's API sends something else: ApiError."""
        try:
            document = response.json()
        except ValueError as error:
            raise self._not_the_api(response, "without JSON") from error
        if not isinstance(document, dict):
            raise self._not_the_api(response, "without a JSON object")
        return document

    def lines(self, response: httpx.Response) -> list[dict[str, Any]]:
        """The JSON objects of an answer in JSON lines."""
        try:
            found = [json.loads(line) for line in response.content.splitlines()]
        except ValueError as error:
            raise self._not_the_api(response, "without JSON lines") from error
        if not all(isinstance(line, dict) for line in found):
            raise self._not_the_api(response, "without JSON objects")
        return found

    def retried(self, send: Callable[[], httpx.Response], server: str = "") -> httpx.Response:
        """The first answer of `send` that a retry would not change. `server` names it in errors; default: the API."""
        began = time.monotonic()
        for number in range(1, TRIES + 1):
            delay = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_S * 2**number))
            try:
                response = send()
            except httpx.TransportError as error:
                refusal = _unreachable(error, server or self.url)
                no_server = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not self._was_answered
                if no_server and time.monotonic() + delay - began > FIRST_ANSWER_S:
                    raise refusal from error
            else:
                self._was_answered = True
                if response.status_code < 400:
                    return response
                refusal = refusal_of(response)
                delay = max(delay, _seconds(response.headers.get("Retry-After")))
            if not refusal.retryable or number == TRIES:
                raise refusal
            self._on_retry(refusal, delay)
            time.sleep(delay)
        raise AssertionError("the last try returns or raises")

    def _not_the_api(self, response: httpx.Response, lacks: str) -> ApiError:
        elsewhere = f", which leads to {to}" if (to := response.headers.get("Location")) else ""
        detail = f"{self.url} is not Backlot's API: HTTP {response.status_code} {lacks}{elsewhere}"
        return ApiError(response.status_code, {"code": "unknown", "detail": detail})


def refusal_of(response: httpx.Response) -> ApiError:
    """The refusal that an answer of 400 or more holds, from the API, a proxy in front of it, or the bucket."""
    with contextlib.suppress(ValueError):
        problem = response.json()
        if isinstance(problem, dict) and "code" in problem:
            return ApiError(response.status_code, problem)
    return ApiError(
        response.status_code,
        {
            "code": "unknown",
            "detail": f"HTTP {response.status_code} from {response.url.netloc.decode()}",
            "retryable": response.status_code in (429, 502, 503, 504),
        },
    )


def timeout(read_s: float) -> httpx.Timeout:
    """Seconds without a byte; connecting has a shorter limit of its own."""
    return httpx.Timeout(read_s, connect=CONNECT_S)


def _base(url: str) -> str:
    """The URL without a slash at its end. Errors: ValueError, with an example of a valid URL."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url!r} is not the URL of an API; it is of the form {LOCAL_URL} or https://jobs.example.org")
    return url.rstrip("/")


def _unreachable(error: httpx.TransportError, server: str) -> ApiError:
    return ApiError(
        0,
        {
            "code": "unreachable",
            "detail": f"no answer from {server}: {error or repr(error)}",
            "retryable": not isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError),
        },
    )


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0
