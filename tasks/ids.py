"""Ids of jobs, batches and whatever else has one, and the time that begins them. It knows nothing that has an id."""

import hashlib
import re
import secrets
import time

JOB_ID = re.compile(r"^job_[0-9a-z]{26}$")
SCHEDULE_ID = re.compile(r"^schedule_[0-9a-z]{26}$")
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
LINE_CHARS = 4
"""Characters of a member's id that say its line: 20 bits."""


def new_id(prefix: str) -> str:
    """`<prefix>_` + 26 base-32 characters: 48 bits of ms, then 80 random bits; so ids sort by time, as ULIDs do."""
    return f"{prefix}_{_base32(now_ms() << 80 | secrets.randbits(80), 26)}"


def derived_id(prefix: str, ms: int, *names: str) -> str:
    """An id of the same form that follows from a time, ms since 1970, and names, which stand for the random bits."""
    bits = int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:10], "big")
    return f"{prefix}_{_base32(ms << 80 | bits, 26)}"


def new_batch_id() -> str:
    """The same with the last 20 bits 0, in whose place a member's id has its line."""
    return new_id("batch")[:-LINE_CHARS] + "0" * LINE_CHARS


def member_id(batch_id: str, line: int) -> str:
    """The id of the job that a line of a batch makes, always the same; the lines of a batch sort in their order."""
    return f"job_{batch_id.removeprefix('batch_')[:-LINE_CHARS]}{_base32(line, LINE_CHARS)}"


def line_of(job_id: str) -> int:
    """The line of a member. Errors: ValueError."""
    line = 0
    for character in job_id[-LINE_CHARS:]:
        line = line << 5 | _BASE32.index(character)
    return line


def _base32(value: int, length: int) -> str:
    """The last 5 bits for each character of an even number."""
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(5 * length - 10, -1, -10)])


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000
