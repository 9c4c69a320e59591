"""Keeps the durations of each model's jobs, from the ends that pass through the journal. Nothing is added to a job's
own scripts, and what is lost here is measured again.

It knows entries of the journal and one hash in Redis, not what durations are good for (tasks/eta.py).
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable

from redis.exceptions import RedisError

from tasks.durations import Durations, Ended, plain
from tasks.ledger import Record, keys
from tasks.ledger.client import Client

log = logging.getLogger(__name__)
LAST_ENDS = 256
"""Ends of a line that one round looks at: the first of so many."""
Measured = tuple[str, Ended]
"""A line and an attempt that ended there."""


class Measuring:
    """Gathers the ends of one segment; `note` adds them to the hash."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[Ended]] = defaultdict(list)

    def see(self, entry: Record) -> None:
        """Gathers an entry of the journal where it is an end that tells a duration."""
        if entry.get("type") != "ended" or len(self._of[line := plain(entry.get("line", ""))]) >= LAST_ENDS:
            return
        if end := ended(entry):
            self._of[line].append(end)

    def note(self, redis: Client) -> None:
        """Adds what was gathered to the durations in Redis. An error is logged: the journal comes first."""
        found = {line: ends for line, ends in self._of.items() if ends}
        if not found:
            return
        try:
            kept = zip(found.items(), redis.hmget(keys.DURATIONS, list(found)), strict=True)
            redis.hset(keys.DURATIONS, mapping={line: _with(text, ends) for (line, ends), text in kept})
        except RedisError as error:
            log.warning("the durations of %d models are not noted: %s", len(found), error)


def ended(entry: Record) -> Ended | None:
    """The last attempt of a job that succeeded or failed; None where there was none or it cannot be read."""
    if entry.get("status") not in ("succeeded", "failed") or "starts" not in entry:
        return None
    try:
        attempt = json.loads(entry[f"attempt:{entry['starts']}"])
        started_ms, ended_ms = float(attempt["started_ms"]), float(attempt["ended_ms"])
        load_s = float(json.loads(entry.get("metrics") or "{}").get("load_s") or 0)
        process = entry.get("slot", "").rpartition(":")[0] or str(attempt["worker"])
        return Ended(process, max(0.0, ended_ms - started_ms) / 1000, max(0.0, load_s), int(ended_ms))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _with(text: str | None, ends: Iterable[Ended]) -> str:
    durations = Durations.read(text)
    durations.add(ends)
    return durations.as_json()
