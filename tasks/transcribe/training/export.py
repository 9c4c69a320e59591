"""What a training of `rnn` or `dnn` ships: weights, the word model, the numbers measured, the card.

The word model's weight in the search is set here, on the validation speakers; the test part is read once, by what
is shipped. Knows files and measures, not how a network learns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from tasks.algorithm import Call
from tasks.transcribe.alphabet import decode
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.search import Judge, beam_search, best_path
from tasks.transcribe.training import corpora
from tasks.transcribe.training.augment import NOISY
from tasks.transcribe.training.card import card
from tasks.transcribe.training.corpora import Utterance
from tasks.transcribe.training.wer import word_error_rate

if TYPE_CHECKING:
    from tasks.transcribe.training.ctc import CtcRecipe

ORDER = 3
WEIGHTS, BONUSES = (0.3, 0.6, 1.0, 1.5, 2.0), (0.0, 1.5, 3.0)
BEAMS = 16


def export(recipe: "CtcRecipe", folder: Path, history: Sequence[Mapping]) -> None:
    """Weights are rounded to half precision before they are measured: the card speaks of what is shipped."""
    weights = {name: value.half().cpu().contiguous() for name, value in recipe.network.state_dict().items()}
    recipe.network.load_state_dict({name: value.float() for name, value in weights.items()})
    save_file(weights, folder / "model.safetensors")
    chosen = _judge(recipe)
    learned = WordModel.learn([utterance.text for utterance in recipe.train + recipe.validation], ORDER)
    learned.write(folder / "words.json")
    config = {"network": recipe.name, "size": recipe.size, "judge": chosen}
    _write(config, folder)
    config["held_out"] = measure(recipe, folder, learned)
    _write(config, folder)
    (folder / "CARD.md").write_text(card(recipe.name, config, _heard(recipe), history, folder), encoding="utf-8")


def _heard(recipe: "CtcRecipe") -> dict:
    """Who and what the training heard, for the card."""
    return {
        "train": len(recipe.train),
        "speakers": len(corpora.speakers(recipe.train)),
        "noisy": NOISY,
        "beams": BEAMS,
        "validation": ", ".join(sorted(corpora.speakers(recipe.validation))),
        "noises": ", ".join(corpora.TRAINING_NOISE),
    }


def _write(config: dict, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _judge(recipe: "CtcRecipe") -> dict[str, float]:
    """Weight and bonus with the fewest errors on the validation speakers, none of whose words the model has counted."""
    model = WordModel.learn([utterance.text for utterance in recipe.train], ORDER)
    heard = recipe.emissions_of_validation()
    said = [utterance.text for utterance in recipe.validation]

    def errors(weight: float, bonus: float) -> float:
        judge = Judge(model, weight, bonus)
        return word_error_rate(zip(said, (decode(beam_search(one, BEAMS, judge)) for one in heard), strict=True))

    weight, bonus = min(product(WEIGHTS, BONUSES), key=lambda both: errors(*both))
    return {"weight": weight, "bonus": bonus}


def measure(recipe: "CtcRecipe", folder: Path, words: WordModel) -> dict[str, float]:
    """Word error rates on AN4's test part: whole utterances, and as a job hears them (cut at pauses); beside what
    saying the commonest word for each would get."""
    from tasks.algorithm import implementation

    model = implementation("transcribe", recipe.name).load(folder, recipe.device)
    test = corpora.an4(recipe.data, "test")
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


def _job(model: object, path: Path) -> str:
    return model.run([Call.of("transcribe", audio=str(path))])[0].value["text"]


def _rate(said: Sequence[Utterance], heard: Iterable[str]) -> float:
    return round(word_error_rate(zip((one.text for one in said), heard, strict=True)), 4)
