"""How like the input that a model learned from a stretch is: a logistic model over a few measures of it.

Knows numbers and sentences, no sound. Each algorithm takes its own measures; training/domain.py finds the constants, on
input that the model was made for and on input that it was not (docs/algorithms.md names both).

    domain.json   {"measures": [names], "centre", "spread", "weights": [a number a measure], "bias", ...}

    fit = 1 / (1 + exp(-(bias + sum of weight * (measure - centre) / spread)))      below 0.5: the stretch is unlike
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

from tasks.folder import read_json
from tasks.transcribe.transcript import Segment, Word
from tasks.warning import warning

FILE = "domain.json"
UNLIKE = 0.5  # fit below which a stretch is none of the model's
SHARE = 0.1  # of the seconds heard: unlike stretches that are less say nothing of a recording
NAMED = 5  # stretches that a warning lists


@dataclass(frozen=True)
class Domain:
    """The constants of domain.json, a number a measure each."""

    measures: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def read(cls, folder: Path) -> "Domain | None":
        """Of a folder of weights; None where it has no domain.json: then nothing is judged."""
        if not (folder / FILE).is_file():
            return None
        told = read_json(folder / FILE)
        measures, centre, spread, weights = (tuple(told[name]) for name in ("measures", "centre", "spread", "weights"))
        return cls(measures, centre, spread, weights, told["bias"])

    def fit(self, measured: Mapping[str, float]) -> float:
        """0-1, from a value for each of the measures."""
        parts = zip(self.measures, self.centre, self.spread, self.weights, strict=True)
        score = self.bias + sum(weight * (measured[name] - middle) / wide for name, middle, wide, weight in parts)
        return 1 / (1 + exp(-max(-50.0, min(50.0, score))))


def doubted(words: Sequence[Word], fit: float | None) -> list[Word]:
    """The words of a stretch that is unlike, with a confidence that falls to 0 as its fit does."""
    if fit is None or fit >= UNLIKE:
        return list(words)
    return [
        Word(word.text, word.start, word.end, word.confidence and round(word.confidence * fit / UNLIKE, 4))
        for word in words
    ]


def findings(segments: Sequence[Segment], duration_s: float) -> list[dict[str, str]]:
    """Warnings: no words in the recording, or stretches of it that are unlike what the model learned."""
    if not any(segment.words for segment in segments):
        found = "sound was found, but no word in it" if segments else "no speech was found"
        return [warning("no_speech", f"{found}, in {duration_s:.1f} s; the text is empty")]
    judged = [segment for segment in segments if segment.fit is not None]
    unlike = stretches_unlike(judged)
    if not unlike:
        return []
    where = ", ".join(f"{segment.start:.1f}-{segment.end:.1f} s" for segment in unlike[:NAMED])
    more = f" and {len(unlike) - NAMED} more" if len(unlike) > NAMED else ""
    return [
        warning(
            "out_of_domain",
            f"{len(unlike)} of {len(judged)} stretches ({where}{more}) sound unlike what this model learned; do not "
            "trust their text, or ask for another model",
        )
    ]


def stretches_unlike(judged: Sequence[Segment]) -> list[Segment]:
    """Those below UNLIKE; none, where they make no more than SHARE of the time."""
    unlike = [segment for segment in judged if segment.fit is not None and segment.fit < UNLIKE]
    seconds = sum(segment.end - segment.start for segment in unlike)
    return unlike if seconds > SHARE * sum(segment.end - segment.start for segment in judged) else []
