"""Any recording to 16 kHz mono 16-bit samples, in blocks, and the reasons not to trust them.

It does not know what the samples are for. FFmpeg (by way of PyAV) does the decoding, in a process apart.

    cut, parts -> recording <- tracks        a file, its parts, a track
                  recording <- frames -> clock -> mixing        packets, each at its time, one channel
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tasks.decoding import ENDED, Decoder
from tasks.errors import DETAIL_MAX, InvalidInput
from tasks.text import line
from tasks.transcribe import WARNINGS
from tasks.transcribe.frames import Damage
from tasks.transcribe.mixing import RATE as RATE
from tasks.transcribe.recording import Recording, refuse_too_long
from tasks.warning import Warned

DECODES_WITH = ("av",)
BLOCK = RATE  # samples handed over at once
SOUND, WARNING = b"S", b"W"
"""First byte of each piece that the decoder gives: samples, or the JSON of a warning."""


def blocks(
    path: Path,
    *,
    track: int | None = None,
    damaged: str = "allow",
    warn: Callable[[dict[str, str]], object] = lambda warning: None,
) -> Iterator[np.ndarray]:
    """An audio track of a file, at constant memory: `track` counts from 0; None leaves the choice to the file.

    Yields int16 arrays of BLOCK samples (the last may be shorter), mono, RATE samples a second, from second 0 of the
    file's own clock; where the track has no sound, silence. Calls `warn` for each reason not to trust them, after the
    last block.
    Raises UnsupportedMedia for a file that is none of the known recordings or has no sound, TooLarge past MAX_HOURS,
    InvalidInput for one that is empty, holds not one sample, has no such track or, where `damaged` is 'refuse', is cut
    or damaged (with the second where it is).
    """
    for piece in DECODER.stream(path, track=track, damaged=damaged):
        if piece.startswith(SOUND):
            yield np.frombuffer(piece[1:], np.int16)
        else:
            warn(_told(piece[1:]))


def _told(said: bytes) -> dict[str, str]:
    """A warning as the decoder gives it, which is as little trusted as its file."""
    try:
        told = Warned.model_validate_json(said)
    except ValueError as error:
        raise InvalidInput(ENDED) from error
    if told.code not in WARNINGS:
        raise InvalidInput(ENDED)
    return {"code": told.code, "detail": line(told.detail, DETAIL_MAX)}


def decoded(file: BinaryIO, *, track: int | None = None, damaged: str = "allow") -> Iterator[bytes]:
    """The same from an open file, a piece a block, then one a warning; the process that this runs in may open nothing
    more."""
    if os.fstat(file.fileno()).st_size == 0:
        raise InvalidInput("the recording is empty: the file has 0 bytes")
    recording = Recording(file, track, Damage(refuse=damaged == "refuse"))
    count = 0
    for block in _joined(recording.pieces()):
        count += len(block)
        refuse_too_long(count / RATE)
        yield SOUND + block.tobytes()
    for warning in recording.warnings():
        yield WARNING + json.dumps(warning).encode()


def _joined(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of BLOCK."""
    held: list[np.ndarray] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= BLOCK:
            joined = np.concatenate(held)
            whole = len(joined) - len(joined) % BLOCK
            yield from np.split(joined[:whole], whole // BLOCK)
            held = [joined[whole:]]
    if held and len(rest := np.concatenate(held)):
        yield rest


DECODER = Decoder(f"{__name__}:{decoded.__name__}")
