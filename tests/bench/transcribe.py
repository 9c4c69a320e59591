"""Measures the transcribing models: `python -m tests.bench.transcribe [parts and models]`; needs BACKLOT_DATA.

Every figure is of whole jobs as a worker runs them (a file in, `Model.run`), word error rates by jiwer, lower-cased,
without punctuation. What is not named keeps the figures of its last run, in transcribe.json; TRANSCRIBE.md shows all.

    an4         CMU AN4's test part: ten speakers nobody was trained on
    librispeech read books, a seeded sample of 74 speakers nobody was trained on
    fsdd        spoken digits, the official split
    noise       the above in noise at 20 to 0 dB, with and without spectral denoising; clips that no training heard
"""

import json
import os
import sys
import time
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jiwer
import numpy as np
import torch
from pocketsphinx import get_model_path

from tasks.algorithm import Algorithm, Call, load
from tasks.transcribe import hmm
from tasks.transcribe.training import corpora
from tasks.transcribe.training.augment import mixed
from tests.bench.arpa import arpa
from tests.bench.machine import facts
from tests.bench.transcribe_report import render

HERE = Path(__file__).parent
SEED = 0
FITTED = "hmm-an4"  # hmm with trigrams of AN4's training texts
LIBRISPEECH_EACH = 12  # utterances of each half
NOISY_AN4, NOISY_DIGITS = 24, 60  # recordings mixed at each ratio
SNR_DB = (20, 10, 5, 0)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Said = Sequence[tuple[Path, str]]  # a recording and what is said in it


def heard(model: Algorithm, said: Said, params: Mapping) -> tuple[list[str], float]:
    """The text of each recording, and CPU seconds a second of sound."""
    before = time.process_time()
    results = model.run([Call.of("transcribe", params, audio=str(path)) for path, _ in said])
    spent = time.process_time() - before
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [result.value["text"] for result in results], spent / sum(r.value["duration_s"] for r in results)


@dataclass(frozen=True)
class Trial:
    """One row: a model, what it is to hear, and how. `told` goes into the row."""

    model: str
    said: Said
    params: Mapping
    told: Mapping = field(default_factory=dict)

    def row(self) -> dict:
        """Word error rate, share of recordings that are right as a whole, real-time factor."""
        texts, factor = heard(model(self.model), self.said, self.params)
        wanted = [text for _, text in self.said]
        shown = {key: value if len(str(value)) < 40 else "..." for key, value in self.params.items()}
        rate = jiwer.wer(wanted, texts)
        print(f"{self.model} {shown} {dict(self.told)}: {rate:.3f}, {factor:.3f} of real time", flush=True)
        return {
            "model": self.model,
            "params": shown,
            **self.told,
            "word_error_rate": rate,
            "recordings": len(self.said),
            "words": len(" ".join(wanted).split()),
            "whole": float(np.mean([one == other for one, other in zip(wanted, texts, strict=True)])),
            "real_time_factor": factor,
            "examples": list(zip(wanted, texts, strict=True))[:5],
        }


@cache
def model(name: str) -> Algorithm:
    return fitted(Path(os.environ["BACKLOT_DATA"])) if name == FITTED else load("transcribe", name)


@cache
def fitted(data: Path) -> Algorithm:
    """PocketSphinx as it comes, but with trigrams of AN4's training texts in place of its own."""
    usual = Path(get_model_path("en-us"))
    texts = [one.text for part in ("train", "validation") for one in corpora.an4(data, part)]
    known = [text for text in texts if all(model("hmm").decoder.lookup_word(word) for word in text.split())]
    with TemporaryDirectory() as folder:
        for name in ("en-us", "cmudict-en-us.dict"):
            (Path(folder) / name).symlink_to(usual / name)
        (Path(folder) / "en-us.lm.bin").write_text(arpa(known))
        return hmm.Model.load(Path(folder))


def an4(data: Path, scratch: Path) -> Iterator[Trial]:
    said = [(one.path, one.text) for one in corpora.an4(data, "test")]
    yield Trial("hmm", said, {})
    yield Trial(FITTED, said, {})
    yield from (
        Trial(name, said, params) for name in ("rnn", "dnn") for params in ({"beams": 1}, {"language_model": False}, {})
    )


def librispeech(data: Path, scratch: Path) -> Iterator[Trial]:
    random = np.random.default_rng(SEED)
    utterances = corpora.librispeech(data, "dev")
    halves = [[one for one in utterances if one.subset == subset] for subset in ("test-other", "train-clean-100")]
    said = [
        (half[int(n)].path, half[int(n)].text)
        for half in halves
        for n in random.choice(len(half), LIBRISPEECH_EACH, replace=False)
    ]
    yield Trial("hmm", said, {})
    yield from (Trial(name, said, params) for name in ("rnn", "dnn") for params in ({}, {"language_model": False}))


def fsdd(data: Path, scratch: Path) -> Iterator[Trial]:
    said = _digits(data, scratch)
    yield from (
        Trial(name, said, {"words": list(WORDS)} if name == "hmm" else {})
        for name in ("hmm-words", "hmm", "rnn", "dnn")
    )


def noise(data: Path, scratch: Path) -> Iterator[Trial]:
    """The same recordings with the same clips for every algorithm."""
    random = np.random.default_rng(SEED)
    test, digits = corpora.an4(data, "test"), _digits(data, scratch)
    spoken = [(test[int(n)].path, test[int(n)].text) for n in random.choice(len(test), NOISY_AN4, replace=False)]
    digits = [digits[int(n)] for n in random.choice(len(digits), NOISY_DIGITS, replace=False)]
    clips = list(corpora.noises(data, training=False).values())
    for snr in (None, *SNR_DB):
        worse, digits_worse = (
            _noisy(said, snr, clips, scratch / f"{kind}{snr}") for kind, said in (("an4", spoken), ("digits", digits))
        )
        for denoise in ("off", "spectral"):
            for name in (FITTED, "rnn", "dnn", "hmm-words"):
                said = digits_worse if name == "hmm-words" else worse
                yield Trial(name, said, {"denoise": denoise}, {"snr_db": snr})


def _digits(data: Path, scratch: Path) -> Said:
    """The official test recordings as wave files."""
    folder = scratch / "digits"
    folder.mkdir(exist_ok=True)
    return [
        (_write(folder / f"{number}.wav", digit.sound), WORDS[digit.digit])
        for number, digit in enumerate(corpora.digits(data, range(5)))
    ]


def _noisy(said: Said, snr: float | None, clips: Sequence[np.ndarray], folder: Path) -> Said:
    """Each recording over one of the clips, drawn by its number alone; None: as it is."""
    if snr is None:
        return said
    folder.mkdir()
    made = []
    for number, (path, text) in enumerate(said):
        random = np.random.default_rng([SEED, number])
        clip = clips[int(random.integers(len(clips)))]
        made.append((_write(folder / f"{number}.wav", mixed(corpora.sound(path), clip, snr, random)), text))
    return made


def _write(path: Path, sound: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return path


PARTS: dict[str, Callable[[Path, Path], Iterator[Trial]]] = {
    "an4": an4,
    "librispeech": librispeech,
    "fsdd": fsdd,
    "noise": noise,
}
MODELS = ("hmm", FITTED, "hmm-words", "rnn", "dnn")


def main(names: Sequence[str]) -> None:
    """`names` are parts and models; none of either means all."""
    torch.set_num_threads(1)
    parts, models = ([name for name in known if name in names] or list(known) for known in (PARTS, MODELS))
    store = HERE / "transcribe.json"
    for part in parts:
        started = time.monotonic()
        with TemporaryDirectory() as scratch:
            trials = PARTS[part](Path(os.environ["BACKLOT_DATA"]), Path(scratch))
            rows = [trial.row() for trial in trials if trial.model in models]
        results = json.loads(store.read_text()) if store.exists() else {}
        results[part] = _merged(results.get(part, {}), rows, models, round(time.monotonic() - started))
        store.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "TRANSCRIBE.md").write_text(render(results))


def _merged(old: Mapping, rows: list[dict], models: Sequence[str], seconds: int) -> dict:
    """The rows of the models that were measured now, and what is known of the others."""
    kept = [row for row in old.get("rows", ()) if row["model"] not in models]
    took = {**old.get("seconds", {}), **{"+".join(models): seconds}}
    return {
        "rows": sorted([*kept, *rows], key=lambda row: MODELS.index(row["model"])),
        "seconds": took,
        "machine": facts(),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
