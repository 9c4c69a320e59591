"""The recordings that networks learn from and are measured on: which there are, and who speaks in which part.

Knows the layout of the data sets below BACKLOT_DATA; not what is done with them.
"""

import csv
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.recipe import DataMissing
from tasks.tarball import unpack
from tasks.transcribe import audio

# Speakers of AN4's training part that no training hears: by them weights are chosen and constants are set.
AN4_VALIDATION = ("fejs", "fsaf2", "mema", "mjhp", "mmaf", "mrab")
# Background clips for training, all CC0; the others are what robustness is measured with.
TRAINING_NOISE = (
    "boat_engine",
    "crowd_cheering",
    "dryer",
    "film_static",
    "keyboard_typing",
    "train_interior",
    "waterfall",
)


@dataclass(frozen=True)
class Utterance:
    """A recording of one person and what is said in it, in lower case; `subset` as its corpus names it, or ""."""

    path: Path
    text: str
    speaker: str
    subset: str = ""


def an4(data: Path, part: str) -> list[Utterance]:
    """`part`: train, validation (other speakers, out of the corpus's training part) or test (others again)."""
    rows = _rows(data, "audio/an4", "test.tsv" if part == "test" else "train.tsv")
    wanted = {
        "train": lambda speaker: speaker not in AN4_VALIDATION,
        "validation": lambda speaker: speaker in AN4_VALIDATION,
        "test": lambda speaker: True,
    }[part]
    return [utterance for utterance in rows if wanted(utterance.speaker)]


def librispeech(data: Path, part: str) -> list[Utterance]:
    """`part`: train or dev; no speaker is in both."""
    return _rows(data, "audio/librispeech", f"{part}.tsv")


def noises(data: Path, training: bool) -> dict[str, np.ndarray]:
    """Background clips by name, int16, for training or for measuring: never the same ones."""
    folder = _folder(data, "audio/noise")
    return {
        path.stem: sound(path) for path in sorted(folder.glob("*.opus")) if (path.stem in TRAINING_NOISE) == training
    }


@dataclass(frozen=True)
class Digit:
    """One spoken digit of FSDD, as 16 kHz int16; `official` is its part in the corpus's own split."""

    digit: int
    speaker: str
    index: int
    official: str
    sound: np.ndarray


def digits(data: Path, indexes: Container[int] = range(50)) -> Iterator[Digit]:
    """All of FSDD, or some of each speaker's digits; the recordings have 8 kHz, so nothing is above 4 kHz."""
    folder = _folder(data, "audio/fsdd")
    with TemporaryDirectory() as scratch:
        unpack(folder / "fsdd.tar.gz", Path(scratch))
        for row in _table(folder / "manifest.tsv"):
            if int(row["index"]) in indexes:
                heard = sound(Path(scratch) / row["path"])
                yield Digit(int(row["digit"]), row["speaker"], int(row["index"]), row["split"], heard)


def sound(path: Path) -> np.ndarray:
    """A whole recording, (samples,) int16 at 16 kHz."""
    return np.concatenate(list(audio.blocks(path)))


def speakers(utterances: Iterable[Utterance | Digit]) -> set[str]:
    return {utterance.speaker for utterance in utterances}


def _rows(data: Path, folder: str, name: str) -> list[Utterance]:
    place = _folder(data, folder)
    return [
        Utterance(place / row["path"], row["text"].lower(), row["speaker"], row.get("subset", ""))
        for row in _table(place / name)
    ]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _folder(data: Path, name: str) -> Path:
    if not (data / name).is_dir():
        raise DataMissing(f"{name} is not below {data}; its origin stands in the CARD.md of the weights")
    return data / name
