"""Recordings that show which input a model was made for: its own and foreign ones, each in two halves.

By the calibrating halves the constants of domain.json are found; the held halves are heard once, by what is shipped,
and the card tells what came. No speaker, clip or kind of made sound is in both (docs/algorithms.md). It knows data sets
and makes tones and music; it knows nothing of models.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from tasks.transcribe.audio import RATE
from tasks.transcribe.training import augment, corpora
from tasks.transcribe.training.corpora import Utterance
from tasks.transcribe.training.words import WORDS

Sounds = dict[str, list[np.ndarray]]  # by source: (samples,) int16 each
DIGITS = frozenset(("oh", *WORDS))
PIECE_S = 5.0  # of a clip of noise
READ_S = 8.0  # of an utterance out of a book
PEAK = 8000.0
STRINGS = 60  # strings of digits that are made of single ones
FIRST = 40  # readers by whom the constants of `hmm` are found
LONG, SAMPLES = "audio/long", "audio/samples"


def calibrating(data: Path, name: str) -> tuple[Sounds, Sounds]:
    """Own and foreign sounds to find the constants of a model with."""
    readers = _one_a_speaker(corpora.librispeech(data, "train"))
    foreign = {
        "noise, training clips": _clips(data, training=True),
        "tones, chirps, hiss": made((*PLAIN, *HARMONIC), 80, seed=1),
    }
    if name == "hmm":
        foreign["organ, bells"] = made(TUNES, 40, seed=1)
        return {"LibriSpeech, training speakers": _cut(readers[:FIRST]), **_spelled(data, "validation")}, foreign
    foreign["LibriSpeech, training speakers"] = _cut(readers)
    if name != "hmm-words":
        return _spelled(data, "validation"), foreign
    foreign["AN4, training part without digits"] = _heard(_without_digits(corpora.an4(data, "train"))[::3])
    return _digits(data, range(5, 10)), foreign


def held(data: Path, name: str) -> tuple[Sounds, Sounds]:
    """The same for the report; other speakers, clips and kinds of sound."""
    sounds = {
        "noise and music, other clips": _clips(data, training=False),
        "made music": made(MUSIC, 40, seed=2),
        "square waves, pink noise, telephone keys": made(OTHER, 60, seed=3),
    }
    samples = [_pieces(corpora.sound(path), 10.0) for path in sorted((data / SAMPLES).glob("*.opus"))]
    books = {
        "LibriSpeech, other speakers": _cut(corpora.librispeech(data, "dev")[::2]),
        "one long reading": _pieces(corpora.sound(next((data / LONG).glob("*.opus"))), 10.0)[::2],
        "samples (readers, a speech, verse, two speakers, a café)": [piece for cut in samples for piece in cut],
    }
    if name == "hmm":
        return {**books, **_spelled(data, "test")}, sounds
    if name != "hmm-words":
        return _spelled(data, "test"), {**books, **sounds}
    spelled = _heard(_without_digits(corpora.an4(data, "test")))
    return _digits(data, range(5)), {**books, **sounds, "AN4, test part without digits": spelled}


def voices(data: Path) -> tuple[Sounds, Sounds]:
    """Speech, some of it in noise, and other sounds, that `voice.py` learns from; no speaker is in a half of `hmm`."""
    random = np.random.default_rng(7)
    clips = _clips(data, training=True)
    readers = _one_a_speaker(corpora.librispeech(data, "train"))
    speech = {"LibriSpeech": _cut(readers[FIRST:]), "AN4": _heard(corpora.an4(data, "train")[::8])}
    noisy = {name: [augment.noisy(sound, clips, random) for sound in sounds] for name, sounds in speech.items()}
    return noisy, {
        "noise": clips,
        "tones": made((*PLAIN, *HARMONIC), 80, seed=4),
        "organ, bells": made(TUNES, 60, seed=4),
    }


def _spelled(data: Path, part: str) -> Sounds:
    return {f"AN4, {part} part": _heard(corpora.an4(data, part))}


def _heard(utterances: Iterable[Utterance]) -> list[np.ndarray]:
    return [corpora.sound(utterance.path) for utterance in utterances]


def _cut(utterances: Iterable[Utterance]) -> list[np.ndarray]:
    return [sound[: round(READ_S * RATE)] for sound in _heard(utterances)]


def _one_a_speaker(utterances: Sequence[Utterance]) -> list[Utterance]:
    return list({utterance.speaker: utterance for utterance in reversed(utterances)}.values())[:110]


def _without_digits(utterances: Sequence[Utterance]) -> list[Utterance]:
    return [utterance for utterance in utterances if not DIGITS & set(utterance.text.split())]


def _clips(data: Path, training: bool, only: Container[str] | None = None) -> list[np.ndarray]:
    clips = corpora.noises(data, training).items()
    return [piece for name, clip in clips if only is None or name in only for piece in _pieces(clip, PIECE_S)]


def _pieces(sound: np.ndarray, seconds: float) -> list[np.ndarray]:
    """All of it, but for a rest under a second."""
    length = round(seconds * RATE)
    return [sound[at : at + length] for at in range(0, len(sound) - RATE, length)]


def _digits(data: Path, indexes: range) -> Sounds:
    """FSDD's of these indexes: each alone, and strings of five of one speaker with pauses."""
    random = np.random.default_rng([4, indexes.start])
    alone = list(corpora.digits(data, indexes))
    speakers = sorted(corpora.speakers(alone))
    strings = []
    for speaker in islice(cycle(speakers), STRINGS):
        own = [digit.sound for digit in alone if digit.speaker == speaker]
        chosen = [own[int(n)] for n in random.integers(0, len(own), 5)]
        pauses = [np.zeros(round(random.uniform(0.1, 0.6) * RATE), np.int16) for _ in chosen]
        strings.append(np.concatenate([part for pair in zip(chosen, pauses, strict=True) for part in pair]))
    return {"single digits": [digit.sound for digit in alone], "strings of five digits": strings}


Maker = Callable[[np.random.Generator], np.ndarray]


def made(makers: Sequence[Maker], count: int, seed: int) -> list[np.ndarray]:
    """So many sounds, of each kind in turn; half of the loudnesses lie more than 12 dB below the loudest."""
    random = np.random.default_rng([5, seed])
    return [
        (maker(random) * PEAK * 10 ** random.uniform(-1.2, 0)).clip(-32768, 32767).astype(np.int16)
        for maker in islice(cycle(makers), count)
    ]


def _time(random: np.random.Generator, longest: float = 5.0) -> np.ndarray:
    return np.arange(round(random.uniform(1.0, longest) * RATE)) / RATE


def _sine(random: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * random.uniform(80, 3800) * _time(random))


def _sines(random: np.random.Generator) -> np.ndarray:
    time = _time(random)
    return np.mean([np.sin(2 * np.pi * hertz * time) for hertz in random.uniform(100, 3000, 3)], axis=0)


def _chirp(random: np.random.Generator) -> np.ndarray:
    time, (low, high) = _time(random), random.uniform(80, 3500, 2)
    return np.sin(2 * np.pi * (low + (high - low) * time / time[-1] / 2) * time)


def _sawtooth(random: np.random.Generator) -> np.ndarray:
    """Swells a few times a second."""
    time = _time(random)
    return (2 * (random.uniform(60, 600) * time % 1) - 1) * (
        0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.5, 5) * time)
    )


def _hiss(random: np.random.Generator) -> np.ndarray:
    return random.normal(0, 0.3, len(_time(random)))


def _square(random: np.random.Generator) -> np.ndarray:
    return 0.5 * np.sign(np.sin(2 * np.pi * random.uniform(50, 900) * _time(random)))


def _pink(random: np.random.Generator) -> np.ndarray:
    count = len(_time(random))
    spectrum = np.fft.rfft(random.normal(0, 1, count))
    wave = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    return 0.4 * wave / wave.std()


def _keys(random: np.random.Generator) -> np.ndarray:
    """Telephone keys (DTMF, ITU-T Q.23): two of eight tones at a time."""
    parts = []
    for _ in range(int(random.integers(5, 12))):
        time = _time(random)[: round(random.uniform(0.08, 0.25) * RATE)]
        low, high = random.choice([697, 770, 852, 941]), random.choice([1209, 1336, 1477, 1633])
        tone = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)
        parts += [tone / 2, np.zeros(round(random.uniform(0.05, 0.15) * RATE))]
    return np.concatenate(parts)


SCALE = (0, 2, 4, 5, 7, 9, 11, 12)  # semitones


def _organ(random: np.random.Generator) -> np.ndarray:
    """Held notes of even harmonics that tremble."""

    def play(time: np.ndarray, hertz: Callable[[], float]) -> np.ndarray:
        pitch, tremble = hertz(), 0.01 * np.sin(2 * np.pi * 6 * time)
        return np.sum([np.sin(2 * np.pi * pitch * n * time + n * tremble) / n for n in (1, 2, 3, 4, 6, 8)], axis=0)

    return _notes(random, play)


def _bells(random: np.random.Generator) -> np.ndarray:
    """Chowning, "The synthesis of complex audio spectra by means of frequency modulation" (1973)."""

    def play(time: np.ndarray, hertz: Callable[[], float]) -> np.ndarray:
        pitch, fading = hertz(), np.exp(-3 * time)
        return fading * np.sin(2 * np.pi * pitch * time + 5 * fading * np.sin(2 * np.pi * 1.4 * pitch * time))

    return _notes(random, play)


def _melody(random: np.random.Generator) -> np.ndarray:
    """Plucked strings, a note at a time."""
    return _notes(random, lambda time, hertz: _harmonics(time, hertz(), 8, 1.0, 2.0))


def _chords(random: np.random.Generator) -> np.ndarray:
    """Three held notes at a time."""
    return _notes(
        random, lambda time, hertz: np.sum([_harmonics(time, hertz(), 5, 1.5, 0.3) for _ in range(3)], axis=0)
    )


def _drums(random: np.random.Generator) -> np.ndarray:
    def hit(time: np.ndarray, hertz: Callable[[], float]) -> np.ndarray:
        snare = random.normal(0, 1, len(time)) * np.exp(-time * random.choice([8, 30]))
        return snare + 2 * np.sin(2 * np.pi * 60 * time) * np.exp(-12 * time)

    return _notes(random, hit)


def _harmonics(time: np.ndarray, hertz: float, count: int, fall: float, fade: float) -> np.ndarray:
    partials = [np.sin(2 * np.pi * hertz * n * time) / n**fall * np.exp(-fade * n * time) for n in range(1, count)]
    return np.sum(partials, axis=0)


def _notes(random: np.random.Generator, play: Callable[[np.ndarray, Callable[[], float]], np.ndarray]) -> np.ndarray:
    """A few seconds of notes of 0.15, 0.3 or 0.6 s that ring as long again."""
    wave, root, at = np.zeros(round(random.uniform(3, 6) * RATE)), random.uniform(110, 330), 0.0
    while at < len(wave) / RATE - 0.3:
        lasts = random.choice([0.15, 0.3, 0.6])
        first = round(at * RATE)
        time = np.arange(min(round(2 * lasts * RATE), len(wave) - first)) / RATE
        wave[first : first + len(time)] += play(time, lambda: root * 2 ** (random.choice(SCALE) / 12))
        at += lasts
    return wave / np.abs(wave).max()


PLAIN = (_sine, _chirp, _hiss)
HARMONIC = (_sines, _sawtooth)
TUNES = (_organ, _bells)
MUSIC = (_melody, _chords, _drums)
OTHER = (_square, _pink, _keys)
