"""The ledger's connections, and the one way to run a script. It knows no verb's meaning."""

import threading
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar, cast

from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import errors
from tasks.ledger.client import Client, Word
from tasks.ledger.faults import away
from tasks.settings import Settings

VERBS = (
    "submit",
    "claim",
    "renew",
    "report",
    "commit",
    "fail",
    "release",
    "cancel",
    "sweep",
    "due",
    "expire",
    "forget",
    "conclude",
    "shrink",
    "count",
    "upload",
    "note_use",
    "pause",
    "resume",
    "unpark",
    "move",
    "orphan",
    "begin_restore",
    "set_epoch",
    "write",
    "give_back",
)
CONNECT_TIMEOUT_S = 0.5
READ_TIMEOUT_S = 0.7
"""Shorter than redis-py's own, which would hang an API for many seconds."""
NOT_RECONCILED = "the keeper has not yet reconciled with this start of Redis"
"""The detail of NotReady while the epoch is not this server's; callers see it."""
Answer = TypeVar("Answer", int, str, list[Any])
"""The types a script's answer has in Python."""


def connect(settings: Settings, *, read_timeout_s: float = READ_TIMEOUT_S, shared: bool = True) -> Client:
    """A client that connects at its first command and repeats a command once. Answers are text; bytes that are no UTF-8
    come as U+FFFD, so that no reader fails because of what another program wrote.

    `shared=False`: one connection and no pool, which saves a third of each call; for one thread only.
    """
    client = settings.redis().client(
        decode_responses=True,
        encoding_errors="replace",
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=read_timeout_s,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        single_connection_client=not shared,
    )
    return cast(Client, client)  # redis-py's own types leave open whether answers are bytes or text


class Connection:
    """Runs verbs. Errors of every verb: NotReady where Redis is away or the keeper has not set the epoch; LedgerFault
    where its script fails and would fail again.

    `client`: used by all threads. Without it each thread has a connection of its own, which is cheaper than a pool.
    `clock`: ms since 1970 for the scripts, 0 for Redis' TIME.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client | None = None,
        clock: Callable[[], int] = lambda: 0,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.settings, self.clock = settings, clock
        self._shared, self._of_thread, self._read_timeout_s = client, threading.local(), read_timeout_s
        unconnected = connect(settings)
        self.scripts = {verb: unconnected.register_script(script_text(verb)) for verb in VERBS}

    @property
    def redis(self) -> Client:
        """This thread's client. Errors: RedisError."""
        if self._shared is not None:
            return self._shared
        client: Client | None = getattr(self._of_thread, "client", None)
        if client is None:
            client = connect(self.settings, read_timeout_s=self._read_timeout_s, shared=False)
            self._of_thread.client = client
        return client

    def write(self, *commands: Sequence[Word], restoring: str = "") -> list[Any]:
        """Runs plain commands in order under the epoch; the answer of each. `restoring`: the token of a restore."""
        words = [word for command in commands for word in (len(command), *command)]
        return self._run("write", [], [restoring, *words], list)[1:]

    def _run(self, verb: str, named: Sequence[str], arguments: Sequence[Word], expected: type[Answer]) -> Answer:
        """The script's answer, which has the type that is expected."""
        with away(verb):
            answer = self.scripts[verb](keys=named, args=[self.clock(), *arguments], client=self.redis)
        if answer in (-1, "not ready") or isinstance(answer, list) and answer[:1] == [-1]:
            raise errors.NotReady(NOT_RECONCILED)
        if not isinstance(answer, expected):
            raise errors.LedgerFault(f"the ledger failed at {verb}: it answered {type(answer).__name__}")
        return answer


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def script_text(verb: str) -> str:
    """The whole Lua text of a verb: the shared files, then its own."""
    further = {"claim": ["_closed", "_next"], "submit": ["_quotas"], "upload": ["_quotas"]}.get(verb, [])
    return "".join(map(_lua, ["_reading", "_common", "_parking", "_aside", *further, verb]))


def _lua(name: str) -> str:
    return files("tasks.ledger").joinpath("scripts", f"{name}.lua").read_text() + "\n"
