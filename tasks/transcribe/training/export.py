"""What a training of `rnn` or `dnn` ships: weights, the word model, the numbers measured, the card.

The word model's weight in the search is set here, on the validation speakers; the test part is read once, by what
is shipped. Knows files and measures, not how a network learns.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from tasks.algorithm import Call, implementation, succeeded
from tasks.transcribe.alphabet import decode
from tasks.transcribe.ctc_listener import CtcListener
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.search import Emission, Judge, beam_search, best_path
from tasks.transcribe.training import corpora
from tasks.transcribe.training.augment import NOISY
from tasks.transcribe.training.card import card
from tasks.transcribe.training.corpora import Utterance
from tasks.transcribe.training.wer import word_error_rate

ORDER = 3
WEIGHTS, BONUSES = (0.3, 0.6, 1.0, 1.5, 2.0), (0.0, 1.5, 3.0)
BEAMS = 16


@dataclass(frozen=True)
class Trained:
    """A training at its end, as a recipe hands it over.

    name, size  the algorithm, and the keyword arguments of its network (tasks/transcribe/networks.py)
    network     the trained network; its weights are rounded in place by `export`
    device      'cpu' or 'cuda', where what ships is measured
    data        the folder of data sets
    train       the recordings that the network learned from
    validation  the recordings that the judge is chosen by
    emissions   hears all of validation by `network` as it is now: (steps, signs) float32 each, ln p
    """

    name: str
    size: Mapping[str, Any]
    network: nn.Module
    device: str
    data: Path
    train: Sequence[Utterance]
    validation: Sequence[Utterance]
    emissions: Callable[[], Sequence[Emission]]


def export(trained: Trained, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes model.safetensors, words.json, config.json and CARD.md into `folder`.

    Weights are rounded to half precision before they are measured: the card speaks of what is shipped.
    """
    weights = {name: value.half().cpu().contiguous() for name, value in trained.network.state_dict().items()}
    trained.network.load_state_dict({name: value.float() for name, value in weights.items()})
    save_file(weights, folder / "model.safetensors")
    chosen = _judge(trained)
    learned = WordModel.learn([utterance.text for utterance in (*trained.train, *trained.validation)], ORDER)
    learned.write(folder / "words.json")
    config: dict[str, Any] = {"network": trained.name, "size": trained.size, "judge": chosen}
    _write(config, folder)
    config["held_out"] = measure(trained, folder, learned)
    _write(config, folder)
    (folder / "CARD.md").write_text(card(trained.name, config, _heard(trained), history, folder), encoding="utf-8")


def _heard(trained: Trained) -> dict[str, Any]:
    """Speakers and noises that the training heard, for the card."""
    return {
        "train": len(trained.train),
        "speakers": len(corpora.speakers(trained.train)),
        "noisy": NOISY,
        "beams": BEAMS,
        "validation": ", ".join(sorted(corpora.speakers(trained.validation))),
        "noises": ", ".join(corpora.TRAINING_NOISE),
    }


def _write(config: Mapping[str, Any], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _judge(trained: Trained) -> dict[str, float]:
    """Weight and bonus with the fewest errors on the validation speakers, none of whose words the model has counted."""
    model = WordModel.learn([utterance.text for utterance in trained.train], ORDER)
    heard = trained.emissions()
    said = [utterance.text for utterance in trained.validation]

    def errors(weight: float, bonus: float) -> float:
        judge = Judge(model, weight, bonus)
        return word_error_rate(zip(said, (decode(beam_search(one, BEAMS, judge)) for one in heard), strict=True))

    weight, bonus = min(product(WEIGHTS, BONUSES), key=lambda both: errors(*both))
    return {"weight": weight, "bonus": bonus}


def measure(trained: Trained, folder: Path, words: WordModel) -> dict[str, float]:
    """Word error rates on AN4's test part: whole utterances, and as a job hears them (cut at pauses); beside what
    saying the commonest word for each would get."""
    model = _listener(trained.name).load(folder, trained.device)
    test = corpora.an4(trained.data, "test")
    heard = [model.emission(corpora.sound(utterance.path)) for utterance in test]
    commonest = words.counts[()].most_common()
    word = next(word for word, _ in commonest if word in words.words)
    return {
        "greedy": _rate(test, (decode(best_path(one)) for one in heard)),
        "beams": _rate(test, (decode(beam_search(one, BEAMS)) for one in heard)),
        "language_model": _rate(test, (decode(beam_search(one, BEAMS, model.judge)) for one in heard)),
        "as_a_job": _rate(test, (_job(model, utterance.path) for utterance in test)),
        "commonest_word": _rate(test, (word for _ in test)),
        "utterances": len(test),
    }


def _listener(name: str) -> type[CtcListener]:
    model = implementation("transcribe", name)
    assert issubclass(model, CtcListener), f"transcribe/{name} is no CTC network"
    return model


def _job(model: CtcListener, path: Path) -> str:
    (outcome,) = model.run([Call.of("transcribe", audio=str(path))])
    return str(succeeded(outcome).value["text"])


def _rate(said: Sequence[Utterance], heard: Iterable[str]) -> float:
    return round(word_error_rate(zip((one.text for one in said), heard, strict=True)), 4)
