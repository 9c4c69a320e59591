"""The lane: answers plain submits (`POST /v1/jobs` with a small JSON body) without Flask, several in one trip to Redis.

It takes a request only where Flask would find nothing to refuse in its head; what else is refused before Redis is asked
goes to Flask as it came, so that each refusal has one author. Headers, refusals and log lines are made by the functions
that Flask's routes use. It knows HTTP; what a submit is, is known in tasks/service/submits.py.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.answers import JSON, PRIVATE
from api.headers import SAFE, cors
from api.keyfile import Key
from api.problems import MEDIA_TYPE, NO_STORE, described
from api.problems import headers_of as headers_of_error
from api.request_logs import line_of
from api.server import wire
from api.server.gathering import Gathering
from api.server.threads import Answer
from api.services import Services
from api.v1.jobs import headers_of, unquoted
from tasks.errors import BacklotError, MalformedRequest
from tasks.service.jobs import Accepted
from tasks.service.submits import SUBMITS_A_TRIP, Submits, Wanted

PATH = "/v1/jobs"
BODY_MAX_BYTES = 8 * 1024
"""Bytes of a body that the lane takes. One takes 6 ms of CPU at most, for which others wait."""
LIST_BYTES = 32 * 1024
"""Bytes of bodies after which a list ends."""
NOT_HERE = frozenset((b"prefer", b"content-encoding", b"upgrade"))
"""Fields whose meaning Flask alone knows."""


@dataclass(frozen=True, slots=True)
class Post:
    """A request in the lane. `origin`: its field Origin. `began`: its time.perf_counter()."""

    wanted: Wanted
    key: Key
    address: str
    origin: str | None
    began: float


class Lane:
    """Answers the plain submits of a process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._submits = Submits(services.jobs)
        self._gathering: Gathering[Post, Answer | None] = Gathering(
            self._answer_all, SUBMITS_A_TRIP, LIST_BYTES, "lane"
        )

    async def answer(
        self, scope: dict[str, Any], head: wire.Head, came_from: wire.Origin, key: Key, body: bytes | None
    ) -> Answer | None:
        """The answer; None for a request that is Flask's, of which nothing has been recorded."""
        post = self._post(scope, head, came_from, key, body)
        return None if post is None else await self._gathering.ask(key.tenant, post, len(post.wanted.body))

    def close(self) -> None:
        """Accepts no more requests."""
        self._gathering.close()

    def _post(
        self, scope: dict[str, Any], head: wire.Head, came_from: wire.Origin, key: Key, body: bytes | None
    ) -> Post | None:
        """The request as the lane takes it; None for one that is Flask's by its head, its key or its size."""
        if scope["method"] != "POST" or scope["raw_path"] != PATH.encode() or scope["query_string"]:
            return None
        if head.media_type != JSON or body is None or len(body) > BODY_MAX_BYTES or came_from.prefix:
            return None
        if key.access == "read" or not self._services.keys.is_noted(key):
            return None
        headers: wire.Headers = scope["headers"]
        if any(name in NOT_HERE for name, _ in headers) or len(wire.values(headers, b"content-type")) > 1:
            return None
        try:
            wanted = Wanted(key.tenant, body, key.kinds, _idempotency_key(headers), key.id)
        except MalformedRequest:
            return None
        origin = b",".join(wire.values(headers, b"origin")).decode("latin-1") or None
        return Post(wanted, key, came_from.address, origin, time.perf_counter())

    def _answer_all(self, posts: Sequence[Post]) -> list[Answer | None]:
        """On the lane's thread."""
        outcomes = self._submits.submit([post.wanted for post in posts])
        return [
            None if outcome is None else self._told(post, outcome)
            for post, outcome in zip(posts, outcomes, strict=True)
        ]

    def _told(self, post: Post, outcome: Accepted | BacklotError) -> Answer:
        """The answer, after its line in the logs. A defect here fails no other request of the list."""
        try:
            answer = self._accepted(outcome) if isinstance(outcome, Accepted) else _refused(outcome)
            made = outcome.job.id if isinstance(outcome, Accepted) else None
            line = line_of(post.address, "POST", PATH, answer.status, post.key, made=made)
            self._services.logs.write(line, True, len(answer.body), post.began)
        except Exception as error:
            answer = _refused(error)
        answer.headers += [*SAFE.items(), *cors(self._services.settings.cors_origins, post.origin).items()]
        return answer

    def _accepted(self, accepted: Accepted) -> Answer:
        headers = {"Content-Type": JSON, **PRIVATE, **headers_of(accepted, self._services.settings)}
        return Answer(202, list(headers.items()), accepted.text.encode())


def _idempotency_key(headers: wire.Headers) -> str | None:
    """Joined where it comes twice, as an environ has it. Errors: MalformedRequest."""
    given = wire.values(headers, b"idempotency-key")
    return unquoted(b",".join(given).decode("latin-1")) if given else None


def _refused(error: Exception) -> Answer:
    problem = described(error, PATH, PATH)
    headers = {"Content-Type": MEDIA_TYPE, **NO_STORE}
    if isinstance(error, BacklotError):
        headers |= headers_of_error(error, problem)
    return Answer(problem.status, list(headers.items()), problem.model_dump_json(exclude_none=True).encode())
