"""A receiver of webhooks for the fault suite: it verifies what comes, and refuses a third of the messages once.

A message counts where it was verified and answered 2xx.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tests.web import Web, serve

REFUSED = 3
"""One message in so many is answered 500 the first time."""


class Receiver:
    """`got`: the status that was told of each job. `wrong`: what could not be verified."""

    def __init__(self, web: Web, secret: str) -> None:
        self.got: dict[str, str] = {}
        self.wrong: list[str] = []
        self._seen: set[str] = set()
        self._verify: Callable[[bytes, dict[str, str]], Any] = Webhook(secret).verify
        self._web, self._lock = web, threading.Lock()
        self.url = web.does("/told", self._answer)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            body, headers = request.body, dict(request.headers)
            status = self._status(body, headers)
        with contextlib.suppress(OSError):  # the keeper was killed meanwhile
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.end_headers()

    def _status(self, body: bytes, headers: dict[str, str]) -> int:
        message_id = headers.get("webhook-id", "")
        try:
            told = self._verify(body, headers)
        except WebhookVerificationError as error:
            self.wrong.append(f"{message_id}: {error}")
            return 400
        is_new = message_id not in self._seen
        self._seen.add(message_id)
        if is_new and len(self._seen) % REFUSED == 0:
            return 500
        self.got[told["data"]["id"]] = told["data"]["status"]
        return 204


@contextlib.contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    with serve() as web:
        yield Receiver(web, secret)
