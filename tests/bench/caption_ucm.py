"""The captioners' recipes on UCM-Captions (research only: measured, never shipped): data, training, what they say.

The split is the data set's own. Decoders look through SqueezeNet 1.0, frozen (its weights lie in weights/squeezenet1_0
of the data folder); the best weights and the length penalty are those of the validation part. Run by caption.py.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.algorithm import Call
from tasks.caption.captioner import Captioner, Network
from tasks.caption.encoder import SqueezeNetEncoder, everywhere
from tasks.caption.image import normalise
from tasks.caption.pictures import open_picture
from tasks.caption.training.lessons import Lessons
from tasks.caption.vocabulary import Words
from tests.bench.caption_metrics import bleu, scores

SIDE = 224  # pixels
BATCH, WEIGHT_DECAY, SMOOTHING = 64, 0.05, 0.1
EVERY = 50  # steps between two looks at the validation part
BEAMS, PENALTIES = 5, (0.0, 1.0)
KEPT = Path(".train/caption/ucm.safetensors")  # what SqueezeNet sees of all pictures: encoded once


@dataclass(frozen=True)
class Part:
    """Pictures of one part of the split. F (pictures, 512, 7, 7); captions: five token lists each."""

    F: Tensor
    captions: list[list[list[str]]]


def read(data: Path) -> dict[str, Part]:
    """'train', 'val' and 'test', encoded (which takes some minutes, the first time)."""
    folder = data / "images" / "ucm"
    images = json.loads((folder / "dataset.json").read_text())["images"]
    if not KEPT.exists():
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        F = encoded(squeezenet(data), [folder / "imgs" / image["filename"] for image in images])
        save_file({"F": F.half().contiguous()}, KEPT)
    F, parts = load_file(KEPT)["F"].float(), {}
    for name in ("train", "val", "test"):
        rows = [row for row, image in enumerate(images) if image["split"] == name]
        parts[name] = Part(
            F[rows],
            [
                [[token.lower() for token in sentence["tokens"]] for sentence in images[row]["sentences"]]
                for row in rows
            ],
        )
    return parts


def squeezenet(data: Path) -> SqueezeNetEncoder:
    """With the weights of the data folder."""
    encoder = SqueezeNetEncoder()
    encoder.layers.load_state_dict(
        {
            name.removeprefix("features."): value
            for name, value in load_file(data / "weights" / "squeezenet1_0" / "model.safetensors").items()
            if name.startswith("features.")
        }
    )
    return encoder.eval()


@torch.inference_mode()
def encoded(encoder: SqueezeNetEncoder, files: Sequence[Path]) -> Tensor:
    seen = []
    for first in range(0, len(files), BATCH):
        pictures = [open_picture(file).resize((SIDE, SIDE)) for file in files[first : first + BATCH]]
        seen.append(encoder.map(normalise(pictures)))
    return torch.cat(seen)


@dataclass(frozen=True)
class Trained:
    """A model that was trained, with how long it took, and the length penalty that was best on the validation part."""

    model: Captioner
    seconds: float
    penalty: float


def train(
    kind: type[Captioner], decoder: dict, steps: int, peak_rate: float, parts: dict[str, Part], seed: int
) -> Trained:
    """One caption of each picture of a batch a step; of all looks at the validation part the best (BLEU-4) is kept."""
    torch.manual_seed(seed)
    chance = random.Random(seed)
    words = Words.of(caption for captions in parts["train"].captions for caption in captions)
    if "longest" in decoder:
        decoder = {**decoder, "longest": words.longest}
    teller = kind.teller(len(words), SqueezeNetEncoder.features, named=False, **decoder)
    lessons = Lessons(teller, words, steps, peak_rate, WEIGHT_DECAY, SMOOTHING)
    best, kept, order, started = -1.0, None, [], time.monotonic()
    for number in range(steps):
        if len(order) < BATCH:
            order = chance.sample(range(len(parts["train"].F)), len(parts["train"].F))
        picked, order = order[:BATCH], order[BATCH:]
        lessons.step(
            number, everywhere(parts["train"].F[picked]), [chance.choice(parts["train"].captions[n]) for n in picked]
        )
        if number % EVERY == EVERY - 1:
            found = bleu(lessons.greedy(everywhere(parts["val"].F)), parts["val"].captions)[3]
            if found > best:
                best, kept = found, {name: value.clone() for name, value in teller.state_dict().items()}
    teller.load_state_dict(kept)
    model = kind(Network(SqueezeNetEncoder(), teller.eval()), words, SIDE, float("-inf"), "cpu")
    seconds = time.monotonic() - started
    penalty = max(PENALTIES, key=lambda one: bleu(told(model, parts["val"].F, BEAMS, one), parts["val"].captions)[3])
    return Trained(model, seconds, penalty)


def told(model: Captioner, F: Tensor, beams: int, penalty: float) -> list[list[str]]:
    """The tokens of the model's best caption of each encoded picture."""
    call = Call.of("caption", params={"beams": beams, "length_penalty": penalty})
    return [model.vocabulary.decode(model.tell(everywhere(one[None]), call)[0].tokens) for one in F]


def baselines(parts: dict[str, Part]) -> dict[str, dict[str, float]]:
    """What needs no training: the most frequent caption, and a caption of the nearest training picture."""
    frequent = Counter(tuple(one) for captions in parts["train"].captions for one in captions).most_common(1)[0][0]
    means = {name: torch.nn.functional.normalize(part.F.mean(dim=(2, 3)), dim=1) for name, part in parts.items()}
    nearest = (means["test"] @ means["train"].T).argmax(dim=1).tolist()
    wanted = parts["test"].captions
    return {
        "the most frequent caption": scores([frequent] * len(wanted), wanted),
        "the nearest training picture's first caption": scores(
            [parts["train"].captions[n][0] for n in nearest], wanted
        ),
    }
