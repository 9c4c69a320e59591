"""Recordings that lie one behind another in one file: chained Ogg, and files that were joined byte by byte.

FFmpeg reads the first of them, or stumbles over the next; each is opened by itself. MP3, AAC, AC-3 and transport
streams need none of this: their frames stand alone. It knows bytes, and no sound.
"""

import io
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from tasks.transcribe.elements import WALKS

FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # RFC 9639, sections 6 and 8.1: the mark, then the first block's header
STREAMED = 0x7FFF_0000
"""Sizes from here on were written by programs that did not know any better (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF), as
no file that is read is half so large."""
FAR = 1 << 62  # bytes
CHUNK = 1024 * 1024


class Part(io.RawIOBase):
    """Bytes `start` to `end` of a file, as a file for FFmpeg, whom damaged files send to places that there are not."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._end, self._at = file, start, end, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place; -1, as FFmpeg wants it, for one before the beginning, or past all files."""
        at = offset + {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        if not self._start <= at < FAR:
            return -1
        self._at = at
        return self.tell()

    def tell(self) -> int:
        return self._at - self._start

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._end:
            return 0
        self._file.seek(self._at)
        found = self._file.read(min(len(buffer), self._end - self._at))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def parts(file: BinaryIO) -> Iterator[BinaryIO]:
    """The recordings in the file, each as a file of its own; all of the file where it is one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    starts = [0]
    if head.startswith(b"OggS"):
        starts = [*_ogg_links(file)] or [0]
    elif head.startswith(b"fLaC"):
        starts = [0, *_flac_marks(file)]
    elif head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        starts = [*_waves(file, size)]
    else:
        for walk, name in WALKS.values():
            starts += [at for at, found in walk(file, size) if at > 0 and found == name] if name in head[:16] else []
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        yield cast(BinaryIO, Part(file, start, end))


def _ogg_links(file: BinaryIO) -> Iterator[int]:
    """Where the links of a chained Ogg file begin (RFC 3533, section 4): at the first page that begins a stream."""
    at, begins = 0, False
    while True:
        file.seek(at)
        page = file.read(27)
        if len(page) < 27 or not page.startswith(b"OggS"):
            return
        if page[5] & 2 and not begins:
            yield at
        begins = bool(page[5] & 2)
        at += 27 + page[26] + sum(file.read(page[26]))


def _flac_marks(file: BinaryIO) -> Iterator[int]:
    """Where FLAC files begin after the first."""
    file.seek(0)
    at, tail = 0, b""
    while block := file.read(CHUNK):
        window = tail + block
        yield from (place for mark in FLAC.finditer(window) if (place := at - len(tail) + mark.start()) > 0)
        at += len(block)
        tail = window[-7:]  # a mark has 8 bytes


def _waves(file: BinaryIO, size: int) -> Iterator[int]:
    """Where WAV files begin: each behind the samples of the one before it."""
    start = 0
    while True:
        yield start
        found = samples(file, start, size)
        if found is None or found[1] >= STREAMED or found[1] == 0:
            return
        start = found[0] + found[1]
        file.seek(start)
        head = file.read(12)
        if not (head.startswith(b"RIFF") and head.endswith(b"WAVE")):
            return


def samples(file: BinaryIO, start: int, size: int) -> tuple[int, int] | None:
    """Offset of a WAV file's samples and how many bytes they have by its header; None where it has no such chunk."""
    at = start + 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return at + 8, length
        at += 8 + length + length % 2
    return None


def beyond(file: BinaryIO) -> int:
    """Bytes behind the samples of a WAV file that are neither chunks nor another file: samples that its header
    leaves out. 0 for all other files."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    found = samples(file, 0, size) if head.startswith(b"RIFF") and head.endswith(b"WAVE") else None
    end = sum(found) if found and 0 < found[1] < STREAMED else size
    return 0 if end >= size or _are_chunks(file, end + end % 2, size) or _are_chunks(file, end, size) else size - end


def _are_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether from `at` to the end of the file there are RIFF chunks: notes and tags, as programs put them behind the
    samples."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if not (head[:4].isascii() and head[:4].decode().isprintable()):
            return False
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return at <= size + 1
