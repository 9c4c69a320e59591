"""The file's own clock: frames of sound are laid at their time stamps, and a hole between two becomes silence.

It knows times and lengths in seconds, and no samples. A stamp that jitters moves nothing. A clock that runs a little
faster or slower than its sound is followed by stretching the sound by up to 1 %. A clock that goes back, or jumps past
the end of the longest recording that is read, is not followed: the sound goes on without a hole.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import av

AHEAD = 8  # frames; a hole is believed where so many that follow agree
HOLE_S = 0.03  # a shorter one is jitter, or made good by stretching
BACK_S = 0.1  # sound that is more than this behind its place was stamped by another clock
DEADBAND_S = 0.005  # nobody hears it, and containers round by milliseconds
STRETCH = 0.01  # share of a frame that is added or taken at most
STEPS = 16_000  # a second: what is added or taken is counted in these


@dataclass(frozen=True)
class Frame:
    """Decoded sound and its time stamp in seconds, None where it has none."""

    at: float | None
    seconds: float
    sound: av.AudioFrame | None


@dataclass(frozen=True)
class Laid:
    """A frame, the seconds of silence in front of it, and the seconds by which it becomes longer."""

    silence: float
    frame: Frame
    longer: float


def laid(frames: Iterable[Frame], room: float, jumped: Callable[[float, float], object]) -> Iterator[Laid]:
    """The frames in order, each with what puts it at its time stamp; the clock begins at 0.

    A hole that would end past second `room` is left out, and so is a step back: `jumped` gets the second where it is
    and the seconds of the jump, and the clock counts on from there.
    """
    ahead: deque[Frame] = deque()
    end, shift = 0.0, 0.0

    def next_laid() -> Laid:
        nonlocal end, shift
        off = _off(ahead, end + shift)
        frame = ahead.popleft()
        silence = longer = 0.0
        if off < -BACK_S or end + off > room:
            shift += off
            jumped(end, off)
        elif off > HOLE_S or (off > 0 and end == 0):
            silence = off
        elif abs(off) > DEADBAND_S:
            most = STRETCH * frame.seconds
            longer = round(max(-most, min(off, most)) * STEPS) / STEPS
        end += silence + frame.seconds + longer
        return Laid(silence, frame, longer)

    for frame in frames:
        ahead.append(frame)
        if len(ahead) == AHEAD:
            yield next_laid()
    while ahead:
        yield next_laid()


def _off(ahead: Iterable[Frame], end: float) -> float:
    """Seconds by which all of these come later (or, negative, earlier) than one behind the other from `end`; 0 where
    they do not agree which it is."""
    offs = []
    for frame in ahead:
        if frame.at is not None:
            offs.append(frame.at - end)
        end += frame.seconds
    if not offs or min(offs) < 0 < max(offs):
        return 0.0
    return min(offs, key=abs)
