"""Redis' errors as ours: NotReady for a Redis that is away (ask again), LedgerFault for a script that is broken (asking
again fails again).

It knows the codes with which Redis' error replies begin. Its words never have a host, a user or a password. It decides
nothing about a retry.
"""

import logging
import re
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from pydantic_core import PydanticSerializationError
from redis.exceptions import (
    ConnectionError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from tasks.errors import BacklotError, LedgerFault, NotReady
from tasks.ledger.checking import NOT_RECONCILED, NotReconciled

log = logging.getLogger(__name__)
WORDS_MAX = 300
"""Characters of an error reply that are logged."""
AWAY = {
    "READONLY": "it is a replica, which takes no writes",
    "LOADING": "it is loading its data",
    "BUSY": "a script has held it for long",
    "MISCONF": "it cannot write to its disk",
    "OOM": "its memory is full",
    "NOREPLICAS": "too few replicas follow it",
    "MASTERDOWN": "it is a replica whose primary is away",
    "UNBLOCKED": "it has become a replica",
    "TRYAGAIN": "it is moving its keys",
    "CLUSTERDOWN": "its cluster is down",
    "NOSCRIPT": "it has forgotten a script",
    "EXECABORT": "it has refused a part of a transaction",
    "MOVED": "it runs in cluster mode, which Backlot does not support",
    "CROSSSLOT": "it runs in cluster mode, which Backlot does not support",
    "NOAUTH": "it wants a password: see BACKLOT_REDIS_URL",
    "WRONGPASS": "it refuses the user or the password of BACKLOT_REDIS_URL",
    "NOPERM": "its user lacks a right that Backlot needs",
}
"""Codes of a server that may serve later by itself, or once its operator has mended it."""
NO_RIGHT = ("ACL failure", "The user executing the script can't")
"""Begin of the words of a right that is missing inside a script or a Function: of newer servers, and of Redis 7.0."""

_SCRIPT = re.compile(
    r"^(?:@?user_(?:script|function):\d+: )+| script: (?:\w+, )?on @?user_(?:script|function):\d+\.?$", re.DOTALL
)
_PIPELINE = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)


class away:
    """Turns Redis' errors raised in its block into NotReady or LedgerFault. `asking`: the verb, for the log."""

    def __init__(self, asking: str = "") -> None:
        self.asking = asking

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RedisError | UnicodeEncodeError | PydanticSerializationError):
            raise ours(error, self.asking) from error


def ours(error: Exception, asking: str = "") -> BacklotError:
    """The error as NotReady, or as a LedgerFault, which is logged."""
    if isinstance(error, NotReconciled):
        return NotReady(NOT_RECONCILED)
    code, words = _said(error)
    if code in AWAY:
        return NotReady(
            f"Redis cannot be used now ({code}: {AWAY[code]}{_missing_right(words) if code == 'NOPERM' else ''})"
        )
    if isinstance(error, ConnectionError | TimeoutError | InvalidResponse):
        return NotReady(f"Redis did not answer ({type(error).__name__})")
    fault = LedgerFault(f"the ledger failed{' at ' + asking if asking else ''}: {words}")
    log.error("%s", fault.detail)
    return fault


def readable(answers: Iterable[Any], asking: str) -> list[Any]:
    """The answers of a pipeline, None in place of one that cannot be read, such as of a key of another type. Errors:
    NotReady, where Redis is away."""
    read = []
    for answer in answers:
        if isinstance(answer, Exception) and isinstance(fault := ours(answer, asking), NotReady):
            raise fault
        read.append(None if isinstance(answer, Exception) else answer)
    return read


def may_lack_functions(error: ResponseError) -> bool:
    """True where the server, or its user's rights, may have no Redis Functions, or no memory for a library; False where
    it is away."""
    code, _ = _said(error)
    return code not in AWAY or code in ("NOPERM", "OOM")


def _said(error: Exception) -> tuple[str, str]:
    """The code of an error reply, or '', and its words. redis-py takes some codes off the words, not all."""
    words = _SCRIPT.sub("", _PIPELINE.sub("", str(error)))[:WORDS_MAX]
    code = getattr(error, "status_code", None) or words.partition(" ")[0]
    if isinstance(error, NoPermissionError) or words.startswith(NO_RIGHT):
        return "NOPERM", words
    return code if isinstance(error, ResponseError | ConnectionError) and code.isupper() else "", words


def _missing_right(words: str) -> str:
    """The right that is missing, in Redis' words: a command, a key or a channel."""
    named = re.search(r"'[^']+' command|access a key|access a channel", words)
    return f", {named[0].replace('access ', 'to ')}" if named else ""
