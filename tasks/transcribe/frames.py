"""Decoded frames of one track with their time stamps, and a count of what could not be decoded.

It knows FFmpeg's packets and frames; it lays nothing in its place (clock.py) and mixes nothing (mixing.py).
"""

from collections.abc import Iterator

import av

from tasks.errors import InvalidInput
from tasks.transcribe.clock import Frame
from tasks.warning import warning

COUNTED = frozenset({"wav", "w64", "aiff", "au", "aac", "mp3", "ac3", "eac3", "amr"})
"""Containers without time stamps. FFmpeg makes some up from sizes and the first rate; counting samples is exact."""
ELEMENTARY = frozenset({"mp3", "aac", "ac3", "eac3"})
"""Containers of nothing but frames: what lies between two is one packet, which lasts for as long as its bytes would."""
SIZED = frozenset({"wav", "w64", "aiff", "au", "caf"})
"""Containers whose last packet is marked as damaged where a size is made up; cut.py reads their sizes."""
REBASED = frozenset({"mpegts", "mpeg", "ogg"})
"""Containers whose clock begins anywhere, as a broadcast has no beginning: their first stamp is second 0."""
NO_DELAY = frozenset({"mp2", "mp2float", "aac", "ac3", "eac3"})
"""Decoders that give a frame a packet."""
HALVES, PADDING = frozenset({"mp3", "mp3float", "mp2", "mp2float", "ac3"}), 2
"""Decoders that take half a frame for one. Frames of a constant bit rate have one size in bytes, but for padding."""
LATE_S = 3600
"""Seconds after which a clock does not begin with its file, which is a piece of a live stream then."""
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""Beginnings of what lies among or behind the frames of an mp3 and is no sound."""


class Damage:
    """What is wrong with a recording: as a warning, or, where `refuse`, as InvalidInput."""

    def __init__(self, refuse: bool) -> None:
        self.second = 0.0  # that decoding has come to
        self._refuse = refuse
        self._packets = 0
        self._first = 0.0
        self._trailing = 0  # packets that nothing was heard after
        self._cut: str | None = None

    def heard(self, end: float) -> None:
        """Sound was decoded up to this second."""
        self.second, self._trailing = end, 0

    def packet(self) -> None:
        """A packet cannot be decoded, or is marked as damaged."""
        self._first = self._first if self._packets else self.second
        self._packets += 1
        self._trailing += 1
        if self._refuse:
            raise InvalidInput(f"the recording cannot be decoded past second {self.second:.1f}: the file is damaged")

    def hole(self, second: float) -> None:
        """Something is missing there: time stamps of a container that knows no holes have one, or its marks."""
        heard, self.second = self.second, second
        self.packet()
        self.second, self._trailing = heard, self._trailing - 1

    def cut(self, of: float | None) -> None:
        """The file says that it is longer: so many seconds, where it is seconds that it says."""
        whole = f" of {of:.1f}" if of is not None else ""
        self._cut = f"the recording breaks off at second {self.second:.1f}{whole}: the file was cut short"
        if self._refuse:
            raise InvalidInput(self._cut)

    def warnings(self) -> Iterator[dict[str, str]]:
        if self._cut is not None or self._trailing:
            past = (
                f"the recording cannot be decoded past second {self.second:.1f}: the file was cut short or is damaged"
            )
            yield warning("audio_cut", f"{self._cut or past}. What there is was heard")
        lost_at_the_cut = self._cut is not None and self._first > self.second - 1
        if (count := self._packets - self._trailing) and not lost_at_the_cut:
            places = "1 place," if count == 1 else f"{count} places, the first"
            said = f"the file is damaged at {places} at second {self._first:.1f}; what was there is not heard"
            yield warning("audio_damaged", said)


def frames(
    container: av.container.InputContainer, track: av.AudioStream, damage: Damage, start: float
) -> Iterator[Frame]:
    """The track's frames. Stamps count from `start`. Where a packet of a container without a clock cannot be decoded,
    there is a frame without sound for as long as it lasts."""
    counted = container.format.name in COUNTED
    base, sound = damage.second, False
    elementary, codec = container.format.name in ELEMENTARY, track.codec_context.name
    sizes: set[int] = set()  # bytes of the packets that were decoded, but for the last
    size = 0
    for packet in _packets(container, track, damage):
        decoded = _decoded(packet, no_delay=elementary and codec in NO_DELAY)
        if decoded is None:
            damage.packet()
            if counted and sound and packet.duration and packet.time_base:
                lost = max(1, packet.size / size) if size and elementary else 1
                yield Frame(None, float(packet.duration * packet.time_base) * lost, None)
            continue
        if packet.size:
            sizes |= {size} - {0}
            size = packet.size
        for frame in decoded:
            if frame.samples <= 0 or frame.sample_rate <= 0:
                continue
            sound, seconds = True, frame.samples / frame.sample_rate
            at = None
            if not counted and frame.pts is not None and frame.time_base is not None:
                at = float(frame.pts * frame.time_base) - start
            damage.heard((base + at if at is not None else damage.second) + seconds)
            yield Frame(at, seconds, frame)
    constant = sizes and max(sizes) - min(sizes) <= PADDING
    if elementary and codec in HALVES and constant and size < min(sizes) - PADDING:
        damage.packet()


def _decoded(packet: "av.Packet[av.AudioStream]", no_delay: bool) -> list[av.AudioFrame] | None:
    """Its frames; None where it cannot be decoded, or, of a codec without delay, gives no frame: the rest of one."""
    if bytes(packet).startswith(TAGS):
        return []
    try:
        decoded = packet.decode()
    except av.error.FFmpegError:
        return None
    return None if no_delay and packet.size and not decoded else decoded


def begin(container: av.container.InputContainer, first: bool) -> float:
    """The stamp in seconds that is second 0 of the file, or of a part that is not its first."""
    start = (container.start_time or 0) / av.time_base
    return start if not first or container.format.name in REBASED or not 0 <= start <= LATE_S else 0.0


def _packets(
    container: av.container.InputContainer, track: av.AudioStream, damage: Damage
) -> Iterator["av.Packet[av.AudioStream]"]:
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the container itself is broken here
            damage.packet()
            return
        if packet is None:
            return
        if packet.is_corrupt and container.format.name not in SIZED:
            damage.packet()
        yield packet
