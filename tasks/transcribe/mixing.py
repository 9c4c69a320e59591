"""One channel of RATE samples a second from frames of any rate and channels, which may change within a recording.

It knows no containers and no clock. Where channels cancel each other (one recorded in opposite phase), the louder one
stands alone; a channel that has been silent so far takes nothing from the others.
"""

from collections.abc import Iterator

import av
import numpy as np

from tasks.errors import UnsupportedMedia

RATE = 16_000  # samples a second
MIXED = RATE // 2  # samples for which the mix is decided at a time
FADE = RATE // 100  # samples from one mix to the next
WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "DL": 0.7071, "DR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
"""Share of a channel in the mix, by FFmpeg's name of it: ITU-R BS.775-4, annex 4, table 2."""
OTHER = 0.5
DEAD = 0.001  # of the loudest channel's power, -30 dB
CANCELED = 0.6  # of the power that channels without any likeness would mix to: they correlate by less than -0.4
SILENT = 25.0  # power of the differences of samples: nothing that anybody hears


class Mono:
    """`canceled`: seconds in which the channels cancelled each other, of `mixed` seconds with more than one channel."""

    def __init__(self) -> None:
        self.canceled = 0.0
        self.mixed = 0.0
        self._form: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None
        self._mix = Mix([])
        self._held: list[np.ndarray] = []
        self._owed = 0  # samples by which what comes is made longer

    def add(self, frame: av.AudioFrame, longer: float) -> Iterator[np.ndarray]:
        """The frame resampled and mixed, as far as that is decided: int16 arrays. `longer`: seconds added to it."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            yield from self.rest()
            self._form = form
            self._resampler = av.AudioResampler("s16", frame.layout, RATE)  # PyAV crashes on 8 planes and more
            self._mix = Mix([channel.name for channel in frame.layout.channels])
        frame.pts = None  # the clock has read it; the resampler would fill and cut by it
        self._owed += round(longer * RATE)
        for piece in self._resampled(frame):
            room = piece.shape[1] // 50
            more = max(-room, min(self._owed, room))
            self._owed -= more
            self._held.append(_stretched(piece, more))
        if sum(piece.shape[1] for piece in self._held) >= MIXED:
            yield from self._mixed()

    def rest(self) -> Iterator[np.ndarray]:
        """All that is held; sound that comes after it has nothing to do with it."""
        self._held += self._resampled(None)
        self._resampler = self._form = None
        if self._held:
            yield from self._mixed()

    def _resampled(self, frame: av.AudioFrame | None) -> list[np.ndarray]:
        if self._resampler is None:
            return []
        try:
            pieces = self._resampler.resample(frame)
            return [piece.to_ndarray().reshape(-1, piece.layout.nb_channels).T for piece in pieces]
        except (av.error.FFmpegError, ValueError) as error:  # hundreds of channels, a rate of nothing
            raise UnsupportedMedia(
                f"the recording has more channels, or another sample rate, than can be made {RATE:,} Hz mono"
            ) from error

    def _mixed(self) -> Iterator[np.ndarray]:
        channels = np.concatenate(self._held, axis=1)
        self._held = []
        if len(channels) == 1:
            yield channels[0]
            return
        for start in range(0, channels.shape[1], MIXED):
            mono, canceled = self._mix.mono(channels[:, start : start + MIXED])
            self.mixed += len(mono) / RATE
            self.canceled += canceled * len(mono) / RATE
            yield mono


class Mix:
    """The mix of a layout, which remembers what it mixed last."""

    def __init__(self, names: list[str]) -> None:
        self._weights = np.array([WEIGHTS.get(name, OTHER) for name in names])
        self._loudest = np.zeros(len(names))
        self._last: np.ndarray | None = None
        self._alone = 0

    def mono(self, channels: np.ndarray) -> tuple[np.ndarray, bool]:
        """(channels, samples) int16 -> (samples,) int16, and whether the channels cancelled each other.

        They do where power is lost of the samples, or of the differences of neighbours: in these, hum and rumble, which
        may well be in phase, count for little beside speech.
        """
        sound = channels.astype(np.float64)
        steps = np.diff(sound, axis=1, prepend=sound[:, :1])
        power = np.mean(np.square(steps), axis=1)
        shares = self._shares(power)
        canceled = float(np.square(shares) @ power) > SILENT and (_is_lost(shares, sound) or _is_lost(shares, steps))
        if canceled:
            if power[self._alone] * 2 < power.max():  # else the same as last time
                self._alone = int(np.argmax(power))
            shares = np.eye(len(power))[self._alone]
        last, self._last = self._last if self._last is not None else shares, shares
        mono = shares @ sound
        fade = np.linspace(0, 1, min(FADE, len(mono)), endpoint=False)
        mono[: len(fade)] = fade * mono[: len(fade)] + (1 - fade) * (last @ sound[:, : len(fade)])
        return np.clip(np.rint(mono), -32_768, 32_767).astype(np.int16), canceled

    def _shares(self, power: np.ndarray) -> np.ndarray:
        """Of each channel; they sum to 1. Channels that have been silent so far have none."""
        self._loudest = np.maximum(self._loudest, power)
        shares = self._weights * (self._loudest > DEAD * self._loudest.max())
        if not shares.any():
            shares = np.ones_like(shares) if not power.any() else (power == power.max()).astype(float)
        return shares / shares.sum()


def _is_lost(shares: np.ndarray, sound: np.ndarray) -> bool:
    """Whether the mix has much less power than it would have of channels without any likeness."""
    expected = float(np.square(shares) @ np.mean(np.square(sound), axis=1))
    return float(np.mean(np.square(shares @ sound))) < CANCELED * expected


def _stretched(channels: np.ndarray, more: int) -> np.ndarray:
    """So many samples more, or fewer: by linear interpolation, which so small a change allows."""
    count = channels.shape[1]
    if more == 0 or count + more < 2:
        return channels
    places = np.linspace(0, count - 1, count + more)
    return np.stack([np.interp(places, np.arange(count), channel) for channel in channels]).astype(np.int16)
