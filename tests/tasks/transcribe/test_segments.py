"""Speech is found where it is, and no stretch is longer than a recogniser can take."""

import numpy as np
import pytest

from tasks.transcribe.audio import RATE
from tasks.transcribe.segments import MARGIN_S, MAX_S, WINDOW_S, Span, find


def voice(seconds: float) -> np.ndarray:
    """A hum of 140 Hz with its harmonics, swelling four times a second as syllables do."""
    time = np.arange(round(seconds * RATE)) / RATE
    hum = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20))
    return 3000 * hum * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))


def recording(seconds: float, *bursts: tuple[float, float]) -> np.ndarray:
    """A quiet room in which somebody hums between the given seconds."""
    sound = np.random.default_rng(0).normal(0, 20, round(seconds * RATE))
    for start, end in bursts:
        hum = voice(end - start)
        sound[round(start * RATE) : round(start * RATE) + len(hum)] += hum
    return sound.astype(np.int16)


def blocks(sound: np.ndarray, size: int = RATE) -> list[np.ndarray]:
    return [sound[i : i + size] for i in range(0, len(sound), size)]


def test_bursts_are_found_where_they_are():
    """Each span holds its burst, and begins and ends within the window and the margin of it."""
    bursts = [(2.0, 4.0), (6.0, 7.5), (11.0, 18.0)]
    spans = find(blocks(recording(20, *bursts)))
    assert len(spans) == len(bursts)
    for span, (start, end) in zip(spans, bursts, strict=True):
        assert start - MARGIN_S - WINDOW_S <= span.start <= start
        assert end <= span.end <= end + MARGIN_S + 2 * WINDOW_S


def test_the_size_of_blocks_does_not_matter():
    """However decoding cuts the samples, the spans are the same."""
    sound = recording(10, (1.0, 3.0), (5.0, 8.0))
    assert find(blocks(sound, 777)) == find([sound]) == find(blocks(sound))


def test_speech_up_to_the_very_end_is_kept():
    """A recording cut off while somebody speaks ends with a span to its end."""
    spans = find(blocks(recording(5, (2.0, 5.0))))
    assert spans[-1].end == 5.0


def test_a_long_stretch_is_cut_at_its_quietest_place():
    """50 s without a pause, but for a softer tenth at second 17: that is where it is cut."""
    sound = voice(50)
    sound[17 * RATE : round(17.3 * RATE)] *= 0.01
    spans = find(blocks(sound.astype(np.int16)))
    assert 17.0 <= spans[0].end <= 17.3
    assert all(span.end - span.start <= MAX_S for span in spans)


def test_spans_follow_one_another():
    """Margins never overlap, also where a pause is shorter than two of them; parts of a long stretch touch."""
    spans = find(blocks(recording(40, (0.5, 3.0), (3.5, 30.0), (30.5, 39.0))))
    assert spans == sorted(spans, key=lambda span: span.start)
    assert all(one.end <= other.start for one, other in zip(spans, spans[1:], strict=False))
    assert all(0 <= span.start < span.end <= 40 for span in spans)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(0, np.int16), np.zeros(100, np.int16), np.zeros(60_000, np.int16), recording(5)],
    ids=["nothing", "one frame", "digital silence", "quiet room"],
)
def test_where_nobody_speaks_there_is_nothing(sound):
    """Silence has no spans, however short or long it is."""
    assert find(blocks(sound)) == []


def test_a_recording_of_one_short_word_is_kept():
    """A fifth of a second is too short to tell speech from noise; where it is all there is, it is heard."""
    assert find(blocks(voice(0.2).astype(np.int16))) == [Span(0.0, 0.2)]
    assert find(blocks((voice(0.2) / 1000).astype(np.int16))) == []


def test_a_span_is_in_seconds():
    """Spans are plain numbers that anyone can make."""
    assert Span(1.0, 2.5).end - Span(1.0, 2.5).start == 1.5
