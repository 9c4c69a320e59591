"""The ledger's connections, and the one way to run a script. It knows no verb's meaning."""

import threading
from collections.abc import Callable, Sequence
from importlib.resources import files

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import errors
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
NOT_RECONCILED = "the keeper has not yet reconciled with this start of Redis"


def connect(settings: Settings, *, read_timeout_s: float = 0.7, shared: bool = True) -> redis.Redis:
    """A client with short timeouts, set by hand: redis-py's own would hang an API for many seconds. Bytes that are no
    UTF-8 come as U+FFFD, for no reader must fail of what somebody else has written.

    One that is not shared by threads has one connection and no pool, which saves a third of each call.
    """
    return settings.redis().client(
        decode_responses=True,
        encoding_errors="replace",
        socket_connect_timeout=0.5,
        socket_timeout=read_timeout_s,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        single_connection_client=not shared,
    )


class Connection:
    """Runs verbs. Errors of every verb: NotReady where Redis is away or the keeper has not set the epoch; LedgerFault
    where its script fails, and would again.

    Without a client given, each thread that asks has a connection of its own, which is cheaper than a pool.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis | None = None,
        clock: Callable[[], int] = lambda: 0,
        read_timeout_s: float = 0.7,
    ) -> None:
        self.settings, self.clock = settings, clock
        self._given, self._mine, self._read_timeout_s = client, threading.local(), read_timeout_s
        unconnected = connect(settings)
        self._scripts = {verb: unconnected.register_script(_script(verb)) for verb in VERBS}

    @property
    def redis(self) -> redis.Redis:
        """This thread's client; connects. Errors: RedisError."""
        if self._given is not None:
            return self._given
        if not hasattr(self._mine, "client"):
            self._mine.client = connect(self.settings, read_timeout_s=self._read_timeout_s, shared=False)
        return self._mine.client

    def write(self, *commands: Sequence[str | int], restoring: str = "") -> list:
        """Plain commands, in order, each with its answer: all or none of them. `restoring`: the token of a restore."""
        words = (word for command in commands for word in (len(command), *command))
        return self._run("write", [], [restoring, *words])[1:]

    def _run(self, verb: str, named: list, arguments: list):
        with away(verb):
            return _if_ready(self._scripts[verb](keys=named, args=[self.clock(), *arguments], client=self.redis))


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _if_ready(answer):
    if answer in (-1, "not ready") or (isinstance(answer, list) and answer[:1] == [-1]):
        raise errors.NotReady(NOT_RECONCILED)
    return answer


def _script(verb: str) -> str:
    """The whole text that Redis gets."""
    of_its_own = {"claim": ["_closed", "_next"], "submit": ["_quotas"], "upload": ["_quotas"]}.get(verb, [])
    return "".join(map(_lua, ["_reading", "_common", "_parking", "_aside", *of_its_own, verb]))


def _lua(name: str) -> str:
    return files("tasks.ledger").joinpath("scripts", f"{name}.lua").read_text() + "\n"
