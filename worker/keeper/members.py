"""Journal entries of batches: what compaction keeps of them, and what a restore learns of their jobs.

Of a job that has ended compaction keeps nothing; of a batch's, that its line ended and how: an entry `members` for each
batch and segment. Reading one twice does no harm. It knows neither Redis nor the bucket.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tasks.ids import line_of
from tasks.ledger import Record

Batch = tuple[str, str]
"""A tenant and a batch's id."""


@dataclass
class Ends:
    """The lines of a batch whose jobs have ended: their statuses, and the ms of the last end."""

    statuses: dict[int, str] = field(default_factory=dict)
    ended_ms: float = 0
    sid: str = ""

    def see(self, entry: Record) -> None:
        """Errors: ValueError, TypeError, KeyError where the entry is damaged."""
        if entry["type"] == "members":
            for status, lines in json.loads(entry["lines"]).items():
                self.statuses |= dict.fromkeys(map(int, lines), status)
        else:
            self.statuses[line_of(entry["id"])] = entry["status"]
        self.ended_ms = max(self.ended_ms, float(entry["ended_ms"]))
        self.sid = entry["sid"]

    def entry(self, batch: Batch) -> Record:
        """The entry that says the same."""
        lines: dict[str, list[int]] = {}
        for line, status in sorted(self.statuses.items()):
            lines.setdefault(status, []).append(line)
        told = {"type": "members", "id": batch[1], "tenant": batch[0], "ended_ms": f"{self.ended_ms:.0f}"}
        return {"sid": self.sid, **told, "lines": json.dumps(lines)}


def batch_of(entry: Record) -> Batch | None:
    """The batch that the entry is about; None where it is about none."""
    if entry["type"] in ("batch", "members"):
        return entry["tenant"], entry["id"]
    return (entry["tenant"], entry["batch"]) if entry["type"] == "ended" and entry.get("batch") else None


def needed(entries: Iterable[Record], known: Collection[Batch]) -> list[Record]:
    """The entries of a segment that tell all about the known batches: of each its last, and one of its ends."""
    last: dict[Batch, Record] = {}
    ends: dict[Batch, Ends] = {}
    for entry in entries:
        batch = batch_of(entry)
        if batch not in known or batch is None:
            continue
        if entry["type"] == "batch":
            last[batch] = entry
        else:
            ends.setdefault(batch, Ends()).see(entry)
    return [*last.values(), *(found.entry(batch) for batch, found in ends.items())]
