"""Any recording to 16 kHz mono 16-bit samples, in blocks; knows containers, limits and what is wrong with a file.

It does not know what the samples are for. FFmpeg (by way of PyAV) does the decoding, in a process apart, and gets
an open file in place of a name, lists of the containers and codecs it may take it for, and no protocol: playlists and
other formats that name further files or addresses are refused before they are read.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

from tasks.decoding import ENDED, Decoder
from tasks.errors import DETAIL_MAX, InvalidInput, TooLarge, UnsupportedMedia
from tasks.text import line
from tasks.transcribe import WARNINGS, tracks
from tasks.warning import Warned

DECODES_WITH = ("av",)
RATE = 16_000  # samples a second
MAX_HOURS = 4
BLOCK = RATE  # samples handed over at once
DEMUXERS = ("wav", "mp3", "mov", "mp4", "m4a", "flac", "ogg", "matroska", "webm")
READS = "wav, mp3, m4a/mp4, flac, ogg, opus and webm are read"
# A header may promise slightly more than there is (encoder padding, rounded durations).
SLACK_S = 1.0
SLACK = 0.02


SOUND, WARNING = b"S", b"W"
"""First byte of each piece that the decoder gives: samples, or the JSON of a warning."""


def blocks(
    path: Path, *, track: int | None = None, warn: Callable[[dict[str, str]], object] = lambda warning: None
) -> Iterator[np.ndarray]:
    """An audio track of a file, at constant memory: `track` counts from 0; None leaves the choice to the file.

    Yields int16 arrays of BLOCK samples (the last may be shorter), mono, RATE samples a second. Calls `warn` for each
    reason not to trust them, after the last.
    Raises UnsupportedMedia for a file that is none of the known recordings or has no sound, InvalidInput
    for one that is empty, breaks off (with the second where it does) or has no such track, TooLarge past MAX_HOURS.
    """
    for piece in DECODER.stream(path, track=track):
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


def decoded(file: BinaryIO, *, track: int | None = None) -> Iterator[bytes]:
    """The same from an open file, a piece a block, then one a warning; the process that this runs in may open nothing
    more."""
    if os.fstat(file.fileno()).st_size == 0:
        raise InvalidInput("the recording is empty: the file has 0 bytes")
    warnings: list[dict[str, str]] = []
    with _opened(file) as container:
        heard = tracks.chosen(container, track, warnings)
        stated = _stated_seconds(container, heard)
        if stated is not None:
            _refuse_too_long(stated)
        count = 0
        for block in _joined(_samples(container, heard)):
            count += len(block)
            _refuse_too_long(count / RATE)
            yield SOUND + block.tobytes()
        _refuse_cut(file, container.format.name, count / RATE, stated)
    for warning in warnings:
        yield WARNING + json.dumps(warning).encode()


def _opened(file: BinaryIO) -> av.container.InputContainer:
    try:
        return av.open(
            file,
            mode="r",
            metadata_errors="replace",
            options={
                "format_whitelist": ",".join(DEMUXERS),
                "codec_whitelist": ",".join(sorted(tracks.CODECS)),
                "protocol_whitelist": "",
            },
        )
    except (av.error.ArgumentError, av.error.PermissionError) as error:
        raise UnsupportedMedia(f"the file is of a kind that is not accepted; {READS}") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise UnsupportedMedia(
            f"the file is no recording that can be read, or its beginning or index is missing; {READS}"
        ) from error


def _stated_seconds(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
    """How long the file says it is; None where it does not say."""
    if track.duration is not None and track.time_base is not None:
        return float(track.duration * track.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _samples(container: av.container.InputContainer, track: av.AudioStream) -> Iterator[np.ndarray]:
    """Resampled audio in pieces of whatever size. A packet that cannot be decoded is skipped if sound follows
    (broadcasts and stream rips begin in mid-frame); if none does, that is where the file breaks."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    broken: Exception | None = None
    count = 0
    for frame in _frames(container, track):
        if isinstance(frame, Exception):
            broken = frame
            continue
        broken = None
        for piece in _resampled(resampler, frame):
            count += len(piece)
            yield piece
    if broken is not None:
        raise InvalidInput(f"the recording cannot be decoded past second {count / RATE:.1f}") from broken
    if count == 0:
        raise InvalidInput("the file's audio track holds no sound at all")
    yield from _resampled(resampler, None)


def _frames(container: av.container.InputContainer, track: av.AudioStream) -> Iterator[av.AudioFrame | Exception]:
    """Decoded frames; in place of what cannot be decoded, the error."""
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:  # the container itself is broken here
            yield error
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            yield error


def _resampled(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[np.ndarray]:
    try:
        return [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    except (av.error.FFmpegError, ValueError) as error:  # hundreds of channels, a rate of nothing
        raise UnsupportedMedia(
            f"the recording has more channels, or another sample rate, than can be made {RATE:,} Hz mono"
        ) from error


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
    rest = np.concatenate(held)
    if len(rest):
        yield rest


def _refuse_too_long(seconds: float) -> None:
    if seconds > MAX_HOURS * 3600:
        raise TooLarge(f"the recording is longer than {MAX_HOURS} hours, the most that is transcribed in one job")


def _refuse_cut(file: BinaryIO, container: str, seconds: float, stated: float | None) -> None:
    """Most containers say beforehand how long they are, or how large; one that holds less was cut on its way."""
    if container == "mp3" and not _has_frame_count(file):
        stated = None  # FFmpeg's guess from the bit rate, wrong where that varies
    short = stated is not None and seconds < stated - max(SLACK_S, SLACK * stated)
    if short or (container == "wav" and _wav_is_cut(file)) or (container == "ogg" and _ogg_is_cut(file)):
        of = f" of {stated:.1f}" if short else ""
        raise InvalidInput(f"the recording breaks off at second {seconds:.1f}{of}: the file was cut short")


def _has_frame_count(file: BinaryIO) -> bool:
    """Whether an mp3's first frame says how many there are (the tags Xing, Info, VBRI)."""
    file.seek(0)
    head = file.read(10)
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(10 + size if head.startswith(b"ID3") else 0)
    first = file.read(4096)
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


def _wav_is_cut(file: BinaryIO) -> bool:
    """Whether a RIFF file is smaller than its own header says; a size never filled in (0, or all ones) says nothing."""
    file.seek(0)
    head = file.read(8)
    size = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and size < 0xFFFFFF00 and size + 8 > file.seek(0, os.SEEK_END)


def _ogg_is_cut(file: BinaryIO) -> bool:
    """Whether the last Ogg page is incomplete (RFC 3533, section 6: 27 bytes, then one length a segment)."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 2 * 65_536))  # a page has 65,307 bytes at most
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    return len(page) < 27 + segments or len(page) < 27 + segments + sum(page[27 : 27 + segments])


DECODER = Decoder(f"{__name__}:{decoded.__name__}")
