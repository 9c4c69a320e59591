"""A file of a stranger as sound: opened, a track chosen, its frames laid by the file's clock and mixed to one channel.

FFmpeg gets an open file in place of a name, lists of the containers and codecs it may take it for, and no protocol:
playlists and other formats that name further files or addresses are refused before they are read. It knows the order of
the work, which the modules that it imports do.
"""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np

from tasks.errors import InvalidInput, TooLarge, UnsupportedMedia
from tasks.transcribe import cut, frames, tracks
from tasks.transcribe.clock import laid
from tasks.transcribe.frames import REBASED, Damage, begin
from tasks.transcribe.mixing import RATE, Mono
from tasks.transcribe.parts import beyond, parts
from tasks.warning import warning

MAX_HOURS = 4
DEMUXERS = (
    "wav",
    "w64",
    "aiff",
    "au",
    "caf",
    "mp3",
    "aac",
    "ac3",
    "eac3",
    "amr",
    "flac",
    "ogg",
    "mov",
    "matroska",
    "asf",
    "avi",
    "flv",
    "mpegts",
    "mpeg",
)
"""FFmpeg's names of the containers that are read; mov is mp4, m4a and 3gp, matroska also webm."""
READS = (
    "wav, mp3, mp2, m4a, aac, flac, ogg, opus, wma, aiff, caf, au, w64, amr, ac3, and the sound of mp4, mov, 3gp, mkv, "
    "webm, avi, flv, wmv, ts and mpg are read"
)


WHOLE = frozenset({"flac", "ogg"})
"""Containers whose sound has no holes, unless some of it is lost."""


class Recording:
    """One file, read once."""

    def __init__(self, file: BinaryIO, track: int | None, damage: Damage) -> None:
        self._file, self._track, self._damage = file, track, damage
        self._mono = Mono()
        self._warnings: list[dict[str, str]] = []
        self._jumps: list[tuple[float, float]] = []
        self._holes: list[float] = []  # seconds at which those of this part begin
        self._end = 0.0  # seconds of sound and silence so far

    def pieces(self) -> Iterator[np.ndarray]:
        """int16 arrays of any length. Errors: those of audio.blocks."""
        for number, part in enumerate(parts(self._file)):
            self._damage.second = self._end
            try:
                container = self._opened(part, first=number == 0)
            except UnsupportedMedia:
                if number == 0:
                    raise
                self._damage.packet()
                continue
            with container:
                yield from self._part(part, container, first=number == 0)
        if self._end == 0:
            raise InvalidInput("the file's audio track holds no sound at all, or none that can be decoded")

    def warnings(self) -> Iterator[dict[str, str]]:
        """All that was found, once the last piece is read."""
        yield from self._warnings
        yield from self._damage.warnings()
        if self._jumps:
            second, off = self._jumps[0]
            way = "back" if off < 0 else "ahead"
            more = f", and jumps {len(self._jumps) - 1} times more" if len(self._jumps) > 1 else ""
            said = f"the file's clock jumps {way} by {abs(off):,.1f} s at second {second:.1f}{more}"
            yield warning("clock_jumps", f"{said}; times after it go on as if it did not")
        if self._mono.canceled >= 0.1:
            seconds = f"{self._mono.canceled:.1f} of {self._mono.mixed:.1f} seconds"
            said = f"the channels cancel each other (opposite phase) in {seconds}; there the louder one alone was heard"
            yield warning("channels_cancel", said)

    def _opened(self, file: BinaryIO, first: bool) -> av.container.InputContainer:
        left_out = beyond(file)
        file.seek(0)
        if left_out and first:
            said = f"the header of the wav file leaves out {left_out:,} bytes of sound behind it; they were heard too"
            self._warnings.append(warning("sizes_wrong", said))
        return opened(file, {"ignore_length": "1"} if left_out else {})

    def _part(self, file: BinaryIO, container: av.container.InputContainer, first: bool) -> Iterator[np.ndarray]:
        name, before = container.format.name, self._end
        track = tracks.chosen(container, self._track, self._warnings if first else [])
        stated = cut.stated_seconds(file, name, track)
        if stated is not None and name in frames.COUNTED | {"flac", "caf"}:
            refuse_too_long(stated)
        jumps = len(self._jumps)
        start = begin(container, first)
        if first and name not in REBASED and start:
            self._jumps.append((before, start))
        for piece in self._laid(container, track, start):
            self._end += len(piece) / RATE
            yield piece
        followed = len(self._jumps) == jumps  # else stated and heard seconds are not those of one clock
        short = stated is not None and followed and cut.is_short(self._end - before, stated)
        if short and name != "avi":
            self._damage.cut(stated)
        elif cut.is_cut(file, name):
            self._damage.cut(None)
        elif short and stated is not None:  # FFmpeg skips the empty chunks by which an avi leaves out sound
            self._jumps.append((before, stated - self._end + before))
        if (self._holes or name == "mpegts") and cut.is_torn(file, name):
            self._damage.hole(self._holes[0] if self._holes else before)

    def _laid(
        self, container: av.container.InputContainer, track: av.AudioStream, start: float
    ) -> Iterator[np.ndarray]:
        base, self._holes = self._end, []
        room = MAX_HOURS * 3600 - base
        found = frames.frames(container, track, self._damage, start)
        for piece in laid(found, room, lambda at, off: self._jumps.append((base + at, off))):
            if piece.silence:
                if self._end > base:
                    self._holes.append(self._end)
                if container.format.name in WHOLE and self._end > base:
                    self._damage.hole(self._end)
                yield from self._mono.rest()
                yield from _silence(piece.silence)
            if piece.frame.sound is None:
                yield from self._mono.rest()
                yield from _silence(piece.frame.seconds)
            else:
                yield from self._mono.add(piece.frame.sound, piece.longer)
        yield from self._mono.rest()


def opened(file: BinaryIO, options: dict[str, str]) -> av.container.InputContainer:
    """The file as one of DEMUXERS, with more `options` of its demuxer. Errors: UnsupportedMedia."""
    try:
        return av.open(
            file,
            mode="r",
            metadata_errors="replace",
            options={
                **options,
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


def refuse_too_long(seconds: float) -> None:
    """Errors: TooLarge."""
    if seconds > MAX_HOURS * 3600:
        raise TooLarge(f"the recording is longer than {MAX_HOURS} hours, the most that is transcribed in one job")


def _silence(seconds: float) -> Iterator[np.ndarray]:
    count = round(seconds * RATE)
    while count > 0:
        yield np.zeros(min(count, RATE), np.int16)
        count -= RATE
