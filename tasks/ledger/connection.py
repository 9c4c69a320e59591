"""The ledger's connections, and the one way to run verbs: as a Redis Function, or as a script where the server has no
Functions. It knows no verb's meaning."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from pydantic_core import to_json
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError
from redis.retry import Retry

from tasks import errors
from tasks.ledger import lua
from tasks.ledger.checking import NOT_RECONCILED, checking
from tasks.ledger.client import Client, Link, Word
from tasks.ledger.faults import away, may_lack_functions, ours
from tasks.settings import Settings

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 0.5
READ_TIMEOUT_S = 0.7
"""Shorter than redis-py's own, which would hang an API for many seconds."""
COMPARE_EVERY_S = 1.0
"""Seconds after which a living connection compares the server by INFO again: a failover there and back closes none."""
CALLS_A_TRIP = 100
"""Verbs that one list has at most; Redis serves nobody else for about 2 ms meanwhile."""
BYTES_A_TRIP = 256 * 1024
"""Bytes of the arguments of a list with more than one verb."""
FUNCTIONS_AGAIN_S = 60.0
"""Seconds for which scripts take the place of the Function where that failed. A failover may bring a newer server."""
Answer = TypeVar("Answer", int, str, list[Any])
"""The types a verb's answer has in Python."""
Call = tuple[str, Sequence[str], Sequence[Word]]
"""A verb, its keys, and its arguments without the time."""
Reply = tuple[int, Any]
"""0 and the verb's answer, or 1 and the words with which it failed."""
Ask = Callable[[Callable[[], Sequence[Word | bytes]]], Any]
"""Sends one command and reads its answer, again after a lost connection. The words are made anew for each try."""


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
        self._functions_at_s = 0.0  # monotonic; until then scripts run

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
        client = self.redis
        link = None if client is self._shared else client.connection
        # no link: a pool, which is that of all threads, or one that asks the sentinels at each connect
        ask: Ask = partial(_on, link) if link else lambda words: client.execute_command(*words())
        try:
            return self._by_function_or_script(ask, verbs, [int(independent), *texts])
        except RedisError:  # it may have become a replica, and may come back with an older memory
            self._of_thread.client = None
            raise

    def _by_function_or_script(self, ask: Ask, verbs: tuple[str, ...], rest: Sequence[Word | bytes]) -> list[Reply]:
        """Runs the verbs by the Function, or by their script where the server, or its user's rights, have none."""
        if time.monotonic() >= self._functions_at_s:
            try:
                return self._run_text(ask, lua.library(), rest)
            except ResponseError as error:  # what the Function has done is answered again: a verb may be asked twice
                if not may_lack_functions(error):
                    raise
                if not self._functions_at_s:
                    log.info("Redis Functions cannot be used (%s); scripts cost Redis more CPU", error)
                self._functions_at_s = time.monotonic() + FUNCTIONS_AGAIN_S
        return self._run_text(ask, lua.script(verbs), rest)

    def _run_text(self, ask: Ask, text: lua.Text, rest: Sequence[Word | bytes]) -> list[Reply]:
        """Runs the text, which is loaded where the server does not have it."""

        def words() -> Sequence[Word | bytes]:
            return *text.run, self._epoch(), *rest

        try:
            return cast(list[Reply], ask(words))
        except ResponseError as error:
            if not lua.is_missing(error):
                raise
        try:
            ask(lambda: text.load)
        except ResponseError as error:
            if not lua.is_loaded(error):  # another process was faster
                raise
        return cast(list[Reply], ask(words))

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


def _on(link: Link, words: Callable[[], Sequence[Word | bytes]], again: bool = True) -> Any:
    """The answer to a command on a thread's own connection. It takes half of a client's time."""
    try:
        link.connect()  # the epoch is compared where this connects
        link.send_command(*words(), check_health=False)
        return link.read_response()
    except (ConnectionError, TimeoutError):
        link.disconnect()
        if not again:
            raise
    return _on(link, words, again=False)


def _text(verb: str, named: Sequence[str], arguments: Sequence[Word]) -> bytes:
    """A call as JSON. All are texts, which Lua's JSON leaves as they are; its numbers would have 14 digits.

    Errors: PydanticSerializationError for a lone surrogate.
    """
    return to_json([verb, named, [word if isinstance(word, str) else repr(word) for word in arguments]])
