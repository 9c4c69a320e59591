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

from tasks.transcribe.parts import STREAMED, samples

Walk = Callable[[BinaryIO, int], bool]
STATED = frozenset({"wav", "flac", "aiff", "caf", "w64", "au", "mp3"})
"""Containers that say how many samples, or frames, there are."""
DURATION = re.compile(r"(\d+):(\d\d):(\d\d\.\d+)")
"""Tag of a Matroska track: when it ends."""
TS, SYNC = 188, b"\x47"
"""Bytes of a packet of an MPEG transport stream, and its first (ISO/IEC 13818-1, section 2.4.3)."""
# A header may promise slightly more than there is (encoder padding, rounded durations).
SLACK_S = 1.0
SLACK = 0.02


def is_cut(file: BinaryIO, container: str) -> bool:
    """Whether the file ends before it says. `container`: FFmpeg's name; False for those that say nothing, as mp3."""
    size = file.seek(0, os.SEEK_END)
    walk = WALKS.get(container)
    return walk is not None and walk(file, size)


def stated_seconds(file: BinaryIO, container: str, track: av.AudioStream) -> float | None:
    """How long a container of STATED, or the tag of a Matroska track, says the track is; None where none does."""
    if (tagged := DURATION.match(track.metadata.get("DURATION", ""))) and container == "matroska,webm":
        hours, minutes, seconds = map(float, tagged.groups())
        return 3600 * hours + 60 * minutes + seconds
    if container not in STATED or track.duration is None or track.time_base is None:
        return None
    at = file.tell()
    guessed = container == "mp3" and not _has_frame_count(file)
    file.seek(at)  # the container is being read
    if guessed:
        return None  # from the bit rate, wrong where that varies
    return float(track.duration * track.time_base)


def is_short(seconds: float, stated: float) -> bool:
    """Whether so many seconds are fewer than stated, by more than rounding."""
    return seconds < stated - max(SLACK_S, SLACK * stated)


def _has_frame_count(file: BinaryIO) -> bool:
    """Whether an mp3's first frame says how many there are (the tags Xing, Info, VBRI)."""
    file.seek(0)
    head = file.read(10)
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(10 + size if head.startswith(b"ID3") else 0)
    first = file.read(4096)
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


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


def _aiff(file: BinaryIO, size: int) -> bool:
    file.seek(4)
    return int.from_bytes(file.read(4), "big") + 8 > size


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


def _mov(file: BinaryIO, size: int) -> bool:
    """ISO/IEC 14496-12, section 4.2: boxes; of size 1 the size has 8 bytes more, of size 0 it goes to the end."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0 or (at > 0 and not head[4:8].isalnum()):
            return False  # to the end of the file, or bytes that are no box
        if length < 8:
            return False
        at += length
    return at > size


def _matroska(file: BinaryIO, size: int) -> bool:
    """RFC 8794: elements; one of unknown size (all ones) is entered, as are clusters of live streams."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        id_length = 9 - head[0].bit_length()
        first = head[id_length] if id_length <= 4 and id_length < len(head) else 0
        if first == 0:
            return False  # no element, or its head is all that is left
        length = 9 - first.bit_length()
        stated = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << 7 * length) - 1)
        at += id_length + length
        if stated != (1 << 7 * length) - 1:
            at += stated
    return at > size


def _asf(file: BinaryIO, size: int) -> bool:
    """Objects of a 16-byte name and a size; 0 is that of a broadcast."""
    at = 0
    while at + 24 <= size:
        file.seek(at + 16)
        length = int.from_bytes(file.read(8), "little")
        if length < 24:
            return False
        at += length
    return at > size


def _flv(file: BinaryIO, size: int) -> bool:
    """Tags: 11 bytes with the size in the second to fourth, the body, 4 bytes more."""
    at = 9 + 4
    while at < size:
        file.seek(at)
        head = file.read(4)
        if head[0] not in (8, 9, 18):
            return False
        at += 11 + int.from_bytes(head[1:4], "big") + 4
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


def is_torn(file: BinaryIO, container: str) -> bool:
    """Whether a packet of a transport stream does not begin with its mark: some bytes were lost or overwritten."""
    file.seek(0)
    block = file.read(4096 * TS)
    if container != "mpegts" or block[: 3 * TS : TS] != 3 * SYNC:
        return False  # or packets of 192 or 204 bytes
    while block:
        if block[::TS].strip(SYNC):
            return True
        block = file.read(4096 * TS)
    return False


WALKS: dict[str, Walk] = {
    "wav": _riff,
    "avi": _riff,
    "aiff": _aiff,
    "w64": _w64,
    "au": _au,
    "caf": _caf,
    "mov,mp4,m4a,3gp,3g2,mj2": _mov,
    "matroska,webm": _matroska,
    "asf": _asf,
    "flv": _flv,
    "ogg": _ogg,
    "mpegts": _mpegts,
    "mpeg": _mpeg,
}
