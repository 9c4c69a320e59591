"""How a transcriber learns what it is not for: `python -m tasks.transcribe.training.domain rnn --data ~/data`.

It finds the constants of domain.json (tasks/transcribe/domain.py), for `hmm-words` the filler and for `hmm` the voice,
on the calibrating halves of training/foreign.py; then it counts warnings on the held halves and writes the table into
CARD.md. It takes a minute or two of one core, is seeded, and leaves the weights as they are.
"""

import argparse
import hashlib
import json
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from tasks.transcribe import domain, filler, segments, voice
from tasks.transcribe.audio import RATE
from tasks.transcribe.cepstra import cepstra
from tasks.transcribe.ctc_listener import CtcListener
from tasks.transcribe.dnn import Model as Dnn
from tasks.transcribe.domain import Domain, stretches_unlike
from tasks.transcribe.filler import FILLER, Filler
from tasks.transcribe.hmm import Model as Hmm
from tasks.transcribe.hmm_words import Model as HmmWords
from tasks.transcribe.rnn import Model as Rnn
from tasks.transcribe.training import foreign
from tasks.transcribe.training.foreign import Sounds
from tasks.transcribe.transcript import Segment
from tasks.transcribe.voice import OTHER, SPEECH, Voice
from tasks.transcribe.word_models import WordHmm, as_tensors

Judging = Hmm | HmmWords | CtcListener
MODELS: dict[str, type[Hmm] | type[HmmWords] | type[CtcListener]] = {
    "hmm": Hmm,
    "hmm-words": HmmWords,
    "rnn": Rnn,
    "dnn": Dnn,
}
MIXTURES = 64  # of a filler, of a voice
FRAMES = 12_000  # of each source that they learn from, at most
LEAST_VARIANCE = 1e-2  # as in training/baum_welch.py
# Share of the model's own validation recordings that may be warned of. `dnn` hardly hears three of its 78.
FALSE_ALARMS = {"hmm": 0.01, "hmm-words": 0.01, "rnn": 0.01, "dnn": 0.04}
SECTION = "## Input it was not made for"


def calibrate(name: str, weights: Path, data: Path) -> None:
    """Writes domain.json, domain.safetensors where mixtures are learned, and the section of CARD.md into `weights`.

    Errors: DataMissing."""
    own, other = foreign.calibrating(data, name)
    model = MODELS[name].load(None if name == "hmm" else weights, "cpu")
    if isinstance(model, HmmWords):
        model.filler = Filler(learned(other))
        save_file(as_tensors({FILLER: model.filler.model}), weights / filler.FILE)
    if isinstance(model, Hmm):
        model.voice = Voice(*map(learned, foreign.voices(data)))
        save_file(as_tensors({SPEECH: model.voice.speech, OTHER: model.voice.other}), weights / voice.FILE)
    model.domain = fitted(model, own, other, FALSE_ALARMS[name], halfway=isinstance(model, Hmm))
    constants = {**vars(model.domain), "false_alarms": FALSE_ALARMS[name], **_of_weights(weights)}
    held = dict(zip(("own", "foreign"), foreign.held(data, name), strict=True))
    counts = {of: {source: warned(model, sounds) for source, sounds in half.items()} for of, half in held.items()}
    (weights / domain.FILE).write_text(json.dumps({**constants, "held_out": counts}, indent=1) + "\n")
    card = weights / "CARD.md"
    card.write_text(with_section(card.read_text(encoding="utf-8"), counts), encoding="utf-8")


def _of_weights(folder: Path) -> dict[str, str]:
    """Which weights the constants belong to; those of `hmm` are the wheel's."""
    weights = folder / "model.safetensors"
    return {"model_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()} if weights.is_file() else {}


def learned(sounds: Sounds) -> WordHmm:
    """One state whose mixtures have learned from these sounds alike, by expectation-maximisation."""
    random = np.random.default_rng(6)
    parts = [np.vstack([cepstra(sound) for sound in source]) for source in sounds.values()]
    frames = np.vstack([part[random.permutation(len(part))[:FRAMES]] for part in parts])
    mixture = GaussianMixture(MIXTURES, covariance_type="diag", reg_covar=LEAST_VARIANCE, random_state=0, max_iter=30)
    mixture.fit(frames)
    return WordHmm(np.ones((1, 1)), mixture.weights_[None], mixture.means_[None], mixture.covariances_[None])


def fitted(model: Judging, own: Sounds, other: Sounds, false_alarms: float, halfway: bool) -> Domain:
    """Logistic regression of own against foreign stretches, each source counting alike. Then the bias is set: of no own
    source more than `false_alarms` of the recordings have a stretch below 0; or it is `halfway` from there to the
    foreign ones, where these lie lower."""
    names, sources = measured(model, [*own.values(), *other.values()])
    stretch = np.vstack([row for source in sources for row in source])
    centre, spread = stretch.mean(axis=0), stretch.std(axis=0) + 1e-9
    counts = [sum(map(len, source)) for source in sources]
    is_own = np.repeat(np.arange(len(sources)) < len(own), counts)
    sides = [len(own)] * len(own) + [len(other)] * len(other)
    weight = np.repeat([100 / (side * count) for side, count in zip(sides, counts, strict=True)], counts)
    regression = LogisticRegression().fit((stretch - centre) / spread, is_own, sample_weight=weight)
    worst = [[regression.decision_function((row - centre) / spread).min() for row in source] for source in sources]
    bound = min(np.quantile(source, false_alarms) for source in worst[: len(own)])
    if halfway:
        bound = (bound + min(bound, max(np.quantile(source, 1 - false_alarms) for source in worst[len(own) :]))) / 2
    bias = float(regression.intercept_[0] - bound)
    middle, wide, weights = (tuple(np.round(part, 5).tolist()) for part in (centre, spread, regression.coef_[0]))
    return Domain(names, middle, wide, weights, round(bias, 5))


def measured(model: Judging, sources: list[list[np.ndarray]]) -> tuple[tuple[str, ...], list[list[np.ndarray]]]:
    """The names of the measures; of each recording of each source that has a stretch, (stretches, measures)."""
    names: tuple[str, ...] = ()
    made = []
    for sounds in sources:
        rows = []
        for cut in filter(None, map(stretches, sounds)):
            told = [model.measured(stretch) for _, stretch in cut]
            names = tuple(told[0])
            rows.append(np.array([list(one.values()) for one in told]))
        made.append(rows)
    return names, made


def stretches(sound: np.ndarray) -> list[tuple[segments.Span, np.ndarray]]:
    """As a job cuts a recording."""
    spans = segments.find([sound])
    return [(span, sound[round(span.start * RATE) : round(span.end * RATE)]) for span in spans]


def warned(model: Judging, sounds: list[np.ndarray]) -> list[int]:
    """How many are warned of, and how many there are."""
    return [sum(map(partial(_is_foreign, model), sounds)), len(sounds)]


def _is_foreign(model: Judging, sound: np.ndarray) -> bool:
    """Whether no stretch of speech is found in it, or stretches that are unlike."""
    assert model.domain is not None, "fitted before"
    judged = [
        Segment(span.start, span.end, (), model.domain.fit(model.measured(cut))) for span, cut in stretches(sound)
    ]
    return not judged or bool(stretches_unlike(judged))


def with_section(card: str, counts: dict[str, dict[str, list[int]]]) -> str:
    """The card with SECTION new, before its limits."""
    rows = [
        f"| {of} | {source} | {number} of {total} | {number / total:.1%} |"
        for of, half in counts.items()
        for source, (number, total) in half.items()
    ]
    table = "\n".join(rows)
    section = f"""{SECTION}

A recording is warned of (`out_of_domain`, or `no_speech` where none is found) where stretches of it are unlike what
the model learned; the confidence of their words is lowered. The constants were found on other speakers, clips and kinds
of sound than these (docs/algorithms.md), by `python -m tasks.transcribe.training.domain`.

| input | source | warned of | share |
|---|---|---|---|
{table}

"""
    without = re.sub(rf"{re.escape(SECTION)}.*?(?=^## )", "", card, flags=re.S | re.M)
    return without.replace("## Limits", section + "## Limits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("BACKLOT_DATA"), required="BACKLOT_DATA" not in os.environ
    )
    parser.add_argument("--weights", type=Path, help="a folder of weights; without it, the one that ships")
    asked = parser.parse_args()
    calibrate(asked.model, asked.weights or Path(__file__).parents[1] / "weights" / asked.model, asked.data)


if __name__ == "__main__":
    main()
