"""The ledger's connections, and the one way to run a script. It knows no verb's meaning."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast

from pydantic_core import to_json
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError, TimeoutError
from redis.retry import Retry

from tasks import errors
from tasks.ledger.checking import NOT_RECONCILED, checking
from tasks.ledger.client import Client, Link, Script, Word
from tasks.ledger.faults import away, ours
from tasks.settings import Settings

CONNECT_TIMEOUT_S = 0.5
READ_TIMEOUT_S = 0.7
"""Shorter than redis-py's own, which would hang an API for many seconds."""
COMPARE_EVERY_S = 1.0
"""Seconds after which a living connection compares the server by INFO again: a failover there and back closes none."""
CALLS_A_TRIP = 100
"""Verbs that one list has at most; Redis serves nobody else for about 2 ms meanwhile."""
BYTES_A_TRIP = 256 * 1024
"""Bytes of the arguments of a list with more than one verb."""
FURTHER = {"claim": ("_closed", "_next"), "limits": ("_quotas",), "submit": ("_quotas",), "upload": ("_quotas",)}
"""Lua files that a verb needs beside those that all have."""
Answer = TypeVar("Answer", int, str, list[Any])
"""The types a verb's answer has in Python."""
Call = tuple[str, Sequence[str], Sequence[Word]]
"""A verb, its keys, and its arguments without the time."""
Reply = tuple[int, Any]
"""0 and the verb's answer, or 1 and the words with which it failed."""


def connect(
    settings: Settings,
    *,
    read_timeout_s: float = READ_TIMEOUT_S,
    shared: bool = True,
    checked: Callable[[str], None] | None = None,
) -> Client:
    """A client that connects at its first command and repeats a command once. Answers are text; bytes that are no UTF-8
    come as U+FFFD, so that no reader fails because of what another program wrote.

    `shared=False`: one connection and no pool, which saves a third of each call; for one thread only.
    `checked`: called with the epoch at each connect and reconnect, which fails on a server with another (epoch.py).
    """
    client = settings.redis().client(
        decode_responses=True,
        encoding_errors="replace",
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=read_timeout_s,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=0,
        single_connection_client=not shared,
        redis_connect_func=checking(checked) if checked else None,
    )
    return cast(Client, client)  # redis-py's own types leave open whether answers are bytes or text


class Connection:
    """Runs verbs. Errors of every verb: NotReady where Redis is away or the keeper has not set the epoch; LedgerFault
    where its script fails and would fail again.

    `client`: used by all threads; each call then compares the epoch by INFO, as the keeper must. Without it each thread
    has a connection of its own, which is cheaper than a pool, and which compares the epoch where it connects.
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
        self._unconnected = connect(settings)
        self._scripts: dict[tuple[str, ...], Script] = {}

    @property
    def redis(self) -> Client:
        """This thread's client. Errors: RedisError."""
        if self._shared is not None:
            return self._shared
        client: Client | None = getattr(self._of_thread, "client", None)
        if client is None:
            self._of_thread.epoch, self._of_thread.compared_s = "", 0.0
            client = connect(self.settings, read_timeout_s=self._read_timeout_s, shared=False, checked=self._connected)
            self._of_thread.client = client
        return client

    def script(self, *verbs: str) -> Script:
        """The script that does lists of these verbs."""
        script = self._scripts.get(verbs)
        if script is None:
            script = self._scripts[verbs] = self._unconnected.register_script(script_text(verbs))
        return script

    def write(self, *commands: Sequence[Word], restoring: str = "") -> list[Any]:
        """Runs plain commands in order under the epoch; the answer of each. `restoring`: the token of a restore."""
        words = [word for command in commands for word in (len(command), *command)]
        return self._run("write", [], [restoring, *words], list)[1:]

    def _run(self, verb: str, named: Sequence[str], arguments: Sequence[Word], expected: type[Answer]) -> Answer:
        """The verb's answer, which has the type that is expected."""
        (reply,) = self._replies([(verb, named, arguments)])
        return self._answer(verb, reply, expected)

    def _replies(self, calls: Sequence[Call], independent: bool = False) -> list[Reply]:
        """A reply for each call that was done, in order, in one trip.

        None is done behind one that failed, unless they are `independent`. A list of CALLS_A_TRIP and BYTES_A_TRIP at
        most.
        """
        now = str(self.clock())
        verbs = tuple(sorted({verb for verb, *_ in calls}))
        with away(" and ".join(verbs)):
            texts = [_text(verb, named, [now, *arguments]) for verb, named, arguments in calls]
            replies = self._ask(verbs, texts, independent)
            if any(map(_is_not_ready, replies)) and self._shared is None:
                self._of_thread.client = None  # redis-py may have reconnected within the call: compare the epoch anew
                replies = self._ask(verbs, texts, independent)
        return replies

    def _ask(self, verbs: tuple[str, ...], texts: Sequence[bytes], independent: bool) -> list[Reply]:
        script, client = self.script(*verbs), self.redis
        try:
            link = None if client is self._shared else client.connection
            if link is None:  # a pool: that of all threads, or one that asks the sentinels at each connect
                return cast(list[Reply], script(keys=[], args=[self._epoch(), int(independent), *texts], client=client))
            return self._on_own_connection(link, script, int(independent), texts)
        except RedisError:  # it may have become a replica, and may come back with an older memory
            self._of_thread.client = None
            raise

    def _on_own_connection(self, link: Link, script: Script, independent: int, texts: Sequence[bytes]) -> list[Reply]:
        """Sends the script by its hash, again after one lost connection. It takes half of a client's time."""
        lost, loaded = False, False
        while True:
            try:
                link.connect()  # the epoch is compared where this connects
                link.send_command("EVALSHA", script.sha, 0, self._epoch(), independent, *texts, check_health=False)
                return cast(list[Reply], link.read_response())
            except NoScriptError:
                if loaded:
                    raise
                link.send_command("SCRIPT", "LOAD", script.script, check_health=False)
                link.read_response()
                loaded = True
            except (ConnectionError, TimeoutError):
                link.disconnect()
                if lost:
                    raise
                lost = True

    def _epoch(self) -> str:
        """The epoch that this thread's connection was checked against; empty where the script has to compare it."""
        now = time.monotonic()
        if self._shared is not None or now > self._of_thread.compared_s + COMPARE_EVERY_S:
            self._of_thread.compared_s = now
            return ""
        epoch: str = self._of_thread.epoch
        return epoch

    def _answer(self, verb: str, reply: Reply, expected: type[Answer]) -> Answer:
        failed, answer = reply
        if failed:
            raise ours(ResponseError(answer), verb)
        if _is_not_ready(reply):
            raise errors.NotReady(NOT_RECONCILED)
        if not isinstance(answer, expected):
            raise errors.LedgerFault(f"the ledger failed at {verb}: it answered {type(answer).__name__}")
        return answer

    def _connected(self, epoch: str) -> None:
        self._of_thread.epoch, self._of_thread.compared_s = epoch, time.monotonic()


def _is_not_ready(reply: Reply) -> bool:
    failed, answer = reply
    return not failed and (answer in (-1, "not ready") or isinstance(answer, list) and answer[:1] == [-1])


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def script_text(verbs: Iterable[str]) -> str:
    """The Lua text that does lists of these verbs: the shared files, each verb as a function of its keys and arguments,
    the dispatcher.

    One text for all verbs would be simpler, but Redis makes every function of a script anew at each call: 100 us.
    """
    shared = ["_server", "_reading", "_common", "_parking", "_aside"]
    for verb in verbs:
        shared += [name for name in FURTHER.get(verb, ()) if name not in shared]
    functions = "".join(f"verbs.{verb} = function(KEYS, ARGV)\n{_lua(verb)}end\n" for verb in verbs)
    return f"{''.join(map(_lua, shared))}local verbs = {{}}\n{functions}{_lua('_dispatch')}"


def _text(verb: str, named: Sequence[str], arguments: Sequence[Word]) -> bytes:
    """A call as JSON. All are texts, which Lua's JSON leaves as they are; its numbers would have 14 digits.

    Errors: PydanticSerializationError for a lone surrogate.
    """
    return to_json([verb, named, [word if isinstance(word, str) else repr(word) for word in arguments]])


@cache
def _lua(name: str) -> str:
    return files("tasks.ledger").joinpath("scripts", f"{name}.lua").read_text() + "\n"
