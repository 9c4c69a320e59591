"""Signs in bytes that a file was cut short: containers say beforehand how large they, or their parts, are.

It knows the outermost structure of each container, and no time stamps: a container's length in seconds is not that of
its audio track.
"""

import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

import av

from tasks.transcribe.elements import CHILDREN, CLUSTER, EBML, SEGMENT, WALKS, ebml
from tasks.transcribe.parts import STREAMED, samples

STATED = frozenset({"wav", "flac", "aiff", "caf", "w64", "au", "mp3", "avi"})
"""Containers that say how many samples, or frames, there are."""
DURATION = re.compile(r"(\d+):(\d\d):(\d\d\.\d+)")
"""Tag of a Matroska track: when it ends."""
FRAMES = re.compile(rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](....)|VBRI.{10}(....)", re.DOTALL)
"""Tag of an mp3, the flag that there is a count, and the count; in VBRI there is always one."""
TS, SYNC = 188, b"\x47"
"""Bytes of a packet of an MPEG transport stream, and its first (ISO/IEC 13818-1, section 2.4.3)."""
# A header may promise slightly more than there is (encoder padding, rounded durations).
SLACK_S = 1.0
SLACK = 0.02


def is_cut(file: BinaryIO, container: str) -> bool:
    """Whether the file ends before it says. `container`: FFmpeg's name; False for those that say nothing, as mp3."""
    size = file.seek(0, os.SEEK_END)
    if container in WALKS:
        walk, _ = WALKS[container]
        return max((at for at, _ in walk(file, size)), default=0) > size
    return container in SIGNS and SIGNS[container](file, size)


def is_torn(file: BinaryIO, container: str) -> bool:
    """Whether bytes in the middle were lost or overwritten: a packet of a transport stream that does not begin with its
    mark, something between the elements of a Matroska file that is none. False for all others."""
    size = file.seek(0, os.SEEK_END)
    if container == "matroska,webm":
        named = {EBML, SEGMENT, CLUSTER, b"", *CHILDREN}
        names = [name for _, name in ebml(file, size, enter=frozenset({SEGMENT, CLUSTER}))]
        return names[-1:] != [b""] or not named.issuperset(names)
    return container == "mpegts" and _loses_sync(file)


def _loses_sync(file: BinaryIO) -> bool:
    file.seek(0)
    block = file.read(4096 * TS)
    if block[: 3 * TS : TS] != 3 * SYNC:
        return False  # packets of 192 or 204 bytes
    while block:
        if block[::TS].strip(SYNC):
            return True
        block = file.read(4096 * TS)
    return False


def stated_seconds(file: BinaryIO, container: str, track: av.AudioStream) -> float | None:
    """How long a container of STATED, or the tag of a Matroska track, says the track is; None where none does."""
    if (tagged := DURATION.match(track.metadata.get("DURATION", ""))) and container == "matroska,webm":
        hours, minutes, seconds = map(float, tagged.groups())
        return 3600 * hours + 60 * minutes + seconds
    if container not in STATED or track.duration is None or track.time_base is None:
        return None
    if container == "mp3":  # FFmpeg guesses by the bit rate where the count is not that of the whole file
        at = file.tell()
        count = _frame_count(file)
        file.seek(at)  # the container is being read
        return count * (1152 if track.rate >= 32_000 else 576) / track.rate if count and track.rate else None
    return float(track.duration * track.time_base)


def is_short(seconds: float, stated: float) -> bool:
    """Whether so many seconds are fewer than stated, by more than rounding."""
    return seconds < stated - max(SLACK_S, SLACK * stated)


def _frame_count(file: BinaryIO) -> int:
    """Frames of an mp3 by its first one (the tags Xing, Info, VBRI); 0 where it does not say."""
    file.seek(0)
    head = file.read(10)
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(10 + size if head.startswith(b"ID3") else 0)
    found = FRAMES.search(file.read(4096))
    return int.from_bytes(found[1] or found[2], "big") if found else 0


def _riff(file: BinaryIO, size: int) -> bool:
    """RIFF: its size stands behind its name, and that of a WAV's samples before them. A size that was never filled in
    says nothing."""
    file.seek(0)
    head = file.read(28)
    if head.startswith(b"RF64") and head[12:16] == b"ds64":  # EBU Tech 3306: the size has 8 bytes there
        return size < int.from_bytes(head[20:28], "little") + 8 < 1 << 62
    found = samples(file, 0, size) if head[8:12] == b"WAVE" else None
    ends = [int.from_bytes(head[4:8], "little") + 8, *([sum(found)] if found else [])]
    return head.startswith(b"RIFF") and any(size < end < STREAMED for end in ends)


def _w64(file: BinaryIO, size: int) -> bool:
    """Sony Wave64: a RIFF whose names have 16 bytes and whose sizes 8, all of the file included."""
    file.seek(16)
    return size < int.from_bytes(file.read(8), "little") < 1 << 62


def _au(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    offset, stated = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
    return stated < STREAMED and offset + stated > size


def _caf(file: BinaryIO, size: int) -> bool:
    """Apple's CAF: chunks behind 8 bytes; samples of size -1 go to the end of the file."""
    at = 8
    while at < size:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:], "big", signed=True)
        if len(head) < 12 or length < 0:
            return len(head) < 12
        at += 12 + length
    return at > size


def _ogg(file: BinaryIO, size: int) -> bool:
    """RFC 3533, section 6: the last page (27 bytes, then one length a segment) is not whole, or not marked as last."""
    file.seek(max(0, size - 2 * 65_536))  # a page has 65,307 bytes at most
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    return len(page) < 27 + segments or len(page) < 27 + segments + sum(page[27 : 27 + segments]) or not page[5] & 4


def _mpeg(file: BinaryIO, size: int) -> bool:
    """ISO/IEC 13818-1, section 2.5.3: packs, of 2,048 bytes on discs, then an end code."""
    file.seek(max(0, size - 4))
    return size % 2048 != 0 and file.read() != b"\0\0\1\xb9"


def _mpegts(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    return size % TS != 0 and file.read(3 * TS)[::TS] == 3 * SYNC


SIGNS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "wav": _riff,
    "avi": _riff,
    "w64": _w64,
    "au": _au,
    "caf": _caf,
    "ogg": _ogg,
    "mpegts": _mpegts,
    "mpeg": _mpeg,
}
