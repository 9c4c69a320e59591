"""Where somebody speaks: a recording cut at its pauses into stretches short enough to be recognised one by one.

Knows samples and seconds, no words. Speech is told from noise by PocketSphinx's Endpointer (the voice
activity detector of WebRTC over a sliding window); a stretch longer than MAX_S is cut at its quietest place. No stretch
begins or ends in a hole, which is silence without any noise. A whole recording of one word is too short for that
window: it is kept as it is, unless it is silent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from pocketsphinx import Endpointer

from tasks.transcribe.audio import RATE

WINDOW_S = 0.3  # a pause is at least this long
RATIO = 0.9  # of the window must be silent (or speech) for the change to count
MARGIN_S = 0.2  # kept around speech: soft first and last sounds, and silence the recogniser can measure
MAX_S = 20.0
SHORT_S = 2.0  # a recording no longer than this may be one word
SILENT = 100.0  # an amplitude, 50 dB below the highest
FRAME = 480  # samples, 30 ms: what the endpointer looks at


@dataclass(frozen=True)
class Span:
    """Seconds from the start of the recording."""

    start: float
    end: float


def find(blocks: Iterable[np.ndarray]) -> list[Span]:
    """Spans of speech, in order, none overlapping, none longer than MAX_S; [] where nobody speaks.

    `blocks` are int16 arrays of any length, RATE samples a second. Memory: 4 bytes for every 30 ms.
    """
    endpointer = Endpointer(window=WINDOW_S, ratio=RATIO, sample_rate=RATE, frame_length=FRAME / RATE)
    levels: list[float] = []
    speech: list[Span] = []
    samples = 0
    for frame in _frames(blocks):
        samples += len(frame)
        levels.append(float(np.mean(np.square(frame, dtype=np.float32))))
        was = endpointer.in_speech
        if len(frame) == FRAME:
            endpointer.process(frame.tobytes())
        if was and not endpointer.in_speech:
            speech.append(Span(endpointer.speech_start, endpointer.speech_end))
    if endpointer.in_speech:
        speech.append(Span(endpointer.speech_start, samples / RATE))
    power = np.array(levels, dtype=np.float32)
    if not speech and 0 < samples <= SHORT_S * RATE and power.max() > SILENT**2:
        return [Span(0.0, samples / RATE)]
    heard = [part for span in _widened(speech, samples / RATE) for part in _sounding(span, power)]
    return [part for span in heard for part in _divided(span, power)]


def _frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Exactly FRAME samples each, but for the last."""
    rest = np.empty(0, np.int16)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) - len(rest) % FRAME
        yield from rest[:whole].reshape(-1, FRAME)
        rest = rest[whole:]
    if len(rest):
        yield rest


def _widened(spans: list[Span], end: float) -> list[Span]:
    """Each span with a margin, which two neighbours share where their pause is shorter than two."""
    ends = [0.0, *(span.end for span in spans)]
    starts = [*(span.start for span in spans), end]
    room = [max(0.0, start - before) for before, start in zip(ends, starts, strict=True)]
    inner = [min(MARGIN_S, gap / 2) for gap in room]
    inner[0], inner[-1] = min(MARGIN_S, room[0]), min(MARGIN_S, room[-1])
    return [Span(span.start - inner[i], span.end + inner[i + 1]) for i, span in enumerate(spans)]


def _sounding(span: Span, power: np.ndarray) -> Iterator[Span]:
    """The span without a beginning and an end of zeros: a hole in the recording, in which nobody speaks."""
    seconds = FRAME / RATE
    first = int(span.start / seconds)
    sounding = first + np.flatnonzero(power[first : int(np.ceil(span.end / seconds))])
    if len(sounding):
        yield Span(max(span.start, sounding[0] * seconds), min(span.end, (sounding[-1] + 1) * seconds))


def _divided(span: Span, power: np.ndarray) -> Iterator[Span]:
    """Parts of MAX_S at most, cut where 0.3 s around the cut are quietest, between MAX_S / 2 and MAX_S."""
    seconds = FRAME / RATE
    smooth = np.convolve(power, np.ones(round(WINDOW_S / seconds)), mode="same") if len(power) else power
    start = span.start
    while span.end - start > MAX_S:
        low, high = round((start + MAX_S / 2) / seconds), int((start + MAX_S) / seconds)
        cut = (low + int(np.argmin(smooth[low:high]))) * seconds
        yield Span(start, cut)
        start = cut
    yield Span(start, span.end)
