"""Measures the transcribing models: `python -m tests.bench.transcribe [parts]`; needs BACKLOT_DATA and jiwer.

Every figure is of whole jobs as a worker runs them (a file in, `Model.run`), word error rates by jiwer, lower-cased,
without punctuation. Parts not named keep the figures of the last run, in transcribe.json; TRANSCRIBE.md shows all.

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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jiwer
import numpy as np
import torch

from tasks.algorithm import Algorithm, Call, load
from tasks.transcribe import corpora
from tasks.transcribe.augment import mixed
from tests.bench.machine import facts
from tests.bench.transcribe_report import render

HERE = Path(__file__).parent
SEED = 0
LIBRISPEECH_EACH = 12  # utterances of each half
NOISY_AN4, NOISY_DIGITS = 40, 100  # recordings mixed at each ratio
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


def measured(name: str, said: Said, params: Mapping | None = None) -> dict:
    """A row: word error rate, share of recordings that are right as a whole, real-time factor."""
    texts, factor = heard(model(name), said, params or {})
    wanted = [text for _, text in said]
    print(f"{name:10} {dict(params or {}).keys() or ''} WER {jiwer.wer(wanted, texts):.3f}", flush=True)
    shown = {key: value if len(str(value)) < 40 else "..." for key, value in (params or {}).items()}
    return {"model": name, "params": shown, "word_error_rate": jiwer.wer(wanted, texts),
            "recordings": len(said), "words": len(" ".join(wanted).split()),
            "whole": float(np.mean([one == other for one, other in zip(wanted, texts, strict=True)])),
            "real_time_factor": factor, "examples": list(zip(wanted, texts, strict=True))[:5]}


@cache
def model(name: str) -> Algorithm:
    return load("transcribe", name)


def fitting(data: Path) -> tuple[str, list[str]]:
    """A JSGF grammar of AN4's training words, weighted by their counts, and the words."""
    counts = Counter(word for part in ("train", "validation") for one in corpora.an4(data, part)
                     for word in one.text.split())
    known = {word: count for word, count in counts.items() if model("hmm").decoder.lookup_word(word)}
    choices = " | ".join(f"/{count}/ {word}" for word, count in sorted(known.items()))
    return f"#JSGF V1.0; grammar an4; public <said> = ({choices})+;", sorted(known)


def an4(data: Path, scratch: Path) -> list[dict]:
    said = [(one.path, one.text) for one in corpora.an4(data, "test")]
    grammar, words = fitting(data)
    return [measured("hmm", said), measured("hmm", said, {"words": words}), measured("hmm", said, {"grammar": grammar}),
            *(measured(name, said, params) for name in ("rnn", "dnn")
              for params in ({"beams": 1}, {"language_model": False}, {}))]


def librispeech(data: Path, scratch: Path) -> list[dict]:
    random = np.random.default_rng(SEED)
    utterances = corpora.librispeech(data, "dev")
    halves = [[one for one in utterances if one.subset == subset] for subset in ("test-other", "train-clean-100")]
    said = [(half[int(n)].path, half[int(n)].text) for half in halves
            for n in random.choice(len(half), LIBRISPEECH_EACH, replace=False)]
    return [measured("hmm", said), measured("rnn", said), measured("rnn", said, {"language_model": False}),
            measured("dnn", said), measured("dnn", said, {"language_model": False})]


def fsdd(data: Path, scratch: Path) -> list[dict]:
    said = _digits(data, scratch)
    return [measured("hmm-words", said), measured("hmm", said, {"words": list(WORDS)}), measured("rnn", said),
            measured("dnn", said)]


def noise(data: Path, scratch: Path) -> list[dict]:
    """The same recordings with the same clips for every algorithm; sorted by ratio and by denoising."""
    random = np.random.default_rng(SEED)
    an4_test = corpora.an4(data, "test")
    spoken = [(an4_test[int(n)].path, an4_test[int(n)].text)
              for n in random.choice(len(an4_test), NOISY_AN4, replace=False)]
    digits = _digits(data, scratch)
    digits = [digits[int(n)] for n in random.choice(len(digits), NOISY_DIGITS, replace=False)]
    grammar, _ = fitting(data)
    rows = []
    for name, said, params in (("hmm", spoken, {"grammar": grammar}), ("rnn", spoken, {}), ("dnn", spoken, {}),
                               ("hmm-words", digits, {})):
        for snr in (None, *SNR_DB):
            worse = said if snr is None else _noisy(said, snr, data, scratch / f"{name}{snr}")
            for denoise in ("off", "spectral"):
                row = measured(name, worse, {**params, "denoise": denoise})
                rows.append({**row, "snr_db": snr, "denoise": denoise})
    return rows


def _digits(data: Path, scratch: Path) -> Said:
    """The official test recordings as wave files."""
    folder = scratch / "digits"
    folder.mkdir(exist_ok=True)
    return [(_write(folder / f"{number}.wav", digit.sound), WORDS[digit.digit])
            for number, digit in enumerate(corpora.digits(data, range(5)))]


def _noisy(said: Said, snr: float, data: Path, folder: Path) -> Said:
    """Each recording over one of the clips that no training heard, drawn by its number alone."""
    folder.mkdir()
    clips = list(corpora.noises(data, training=False).values())
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


PARTS: dict[str, Callable[[Path, Path], list[dict]]] = {"an4": an4, "librispeech": librispeech, "fsdd": fsdd,
                                                        "noise": noise}


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(1)
    data = Path(os.environ["BACKLOT_DATA"])
    store = HERE / "transcribe.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    for name in names or PARTS:
        started = time.monotonic()
        with TemporaryDirectory() as scratch:
            rows = PARTS[name](data, Path(scratch))
        results[name] = {"rows": rows, "seconds": round(time.monotonic() - started), "machine": facts()}
        store.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "TRANSCRIBE.md").write_text(render(results))


if __name__ == "__main__":
    main(sys.argv[1:])
