"""Journal segments: objects in the bucket with an entry a line, named by their first and last stream id.

A segment may be written twice, and two may overlap (two keepers): entries are identified by job id and type.
It knows where segments lie and how they are read; not when they are written or compacted.
"""

import json
import logging
import re
from collections.abc import Iterator

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ledger import Record
from worker.keeper.entries import Sid, number, parse
from worker.keeper.skipped import Skipped

log = logging.getLogger(__name__)
FOLDER = "journal/"
WRITTEN = FOLDER + "written.json"
"""The stream id up to which every ended job has its job.json."""
UNREADABLE = FOLDER + "unreadable/"
"""Lines and entries that cannot be read, as they came, until a person has looked at them."""
SEGMENT = re.compile(r"journal/(\d+)-(\d+)-(\d+)-(\d+)\.jsonl")


def names(storage: Storage, skipped: Skipped | None = None) -> list[str]:
    """The keys of all segments, oldest first. Other objects beside them are skipped. Errors: StorageUnavailable."""
    found = []
    for seen in storage.list(FOLDER):
        if SEGMENT.fullmatch(seen.key):
            found.append(seen.key)
        elif skipped and seen.key not in (FOLDER, WRITTEN) and not seen.key.startswith(UNREADABLE):
            skipped.add(seen.key, "no segment's name")
    return sorted(found, key=lambda name: span(name)[0])


def span(name: str) -> tuple[Sid, Sid]:
    """The first and the last stream id of the segment journal/<ms>-<part>-<ms>-<part>.jsonl. Errors: ValueError."""
    named = SEGMENT.fullmatch(name)
    if named is None:
        raise ValueError(f"{name!r} is no segment's name")
    first_ms, first_part, last_ms, last_part = map(int, named.groups())
    return (first_ms, first_part), (last_ms, last_part)


def lines(storage: Storage, name: str) -> Iterator[tuple[bytes, Record | None]]:
    """The lines of a segment as they are, each with its entry; None where it cannot be read. Errors: NotFound."""
    for line in filter(None, storage.get_lines(name)):
        entry: Record | None
        try:
            entry = parse(line)
        except (ValueError, TypeError, RecursionError):
            entry = None
        yield line, entry


def read(storage: Storage, name: str) -> list[Record]:
    """The entries of a segment that can be read. Errors: NotFound."""
    return [entry for _, entry in lines(storage, name) if entry is not None]


def set_aside(storage: Storage, name: str, data: bytes) -> None:
    """Keep unreadable data where a person finds it. Errors: StorageUnavailable."""
    storage.put_bytes(UNREADABLE + name, data, "application/json")


def written(storage: Storage) -> Sid:
    """The stream id up to which every ended job has its job.json; the beginning where it is not known."""
    try:
        return number(json.loads(storage.get_bytes(WRITTEN))["written"])
    except NotFound:
        return 0, 0
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.error("%s cannot be read (%s): each job.json is asked for", WRITTEN, type(error).__name__)
        return 0, 0
