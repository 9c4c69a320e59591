"""Caption by a convolutional network that sorts photographs into classes: the plain form of image recognition.

Convolutions, activations, a mean over places, one full layer, softmax (efficientnet.py); the caption is the likeliest
class where it is likely enough, else the smallest group of classes that is (classes.py). Where it looked, class
activation maps show: Zhou, Khosla, Lapedriza, Oliva, Torralba, 'Learning Deep Features for Discriminative
Localization' (2016), section 2, whose letters we keep:

    f_k(x, y)                        feature k at a place, after the last activation
    M_c(x, y) = sum_k w_k^c f_k(x, y)    the map of class c; that of a group is the mean of its classes', by probability

Weights are a folder of config.json, classes.txt and model.safetensors (float16). Knows nothing of training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.algorithm import Algorithm, Call, Result
from tasks.caption import quality
from tasks.caption.captioner import picture_of, unless_canceled, written
from tasks.caption.classes import Classes, Said
from tasks.caption.efficientnet import EfficientNetLite0, tensor_of
from tasks.caption.encoder import channels_last
from tasks.caption.maps import strip
from tasks.caption.stored import read_tensors
from tasks.errors import BacklotError
from tasks.folder import CONFIG, TENSORS, read_json, trained, unusable
from tasks.warning import warning

NAMES = "classes.txt"
SEEN = 224 / 256
"""Share of the shorter side that the square has which the network sees, as in its training."""
LONG = 2.0
"""Longer side over shorter from which on a warning says that only the middle was looked at."""
TILES = 4
"""Maps in the picture of where it looked: of the caption, and of the likeliest classes."""
NO_LIMIT = -math.inf
"""Captions are compared with `sure` of config.json, not with a log-probability."""


@dataclass(frozen=True)
class Seen:
    """What stays of a picture, however large: the square that the network sees, the fields of Quality, warnings."""

    square: Image.Image
    quality: dict[str, float]
    warnings: list[dict[str, str]]


@dataclass(frozen=True)
class Sorted:
    """What the network makes of one picture: probabilities of the classes, f (features, rows, columns), and d."""

    probabilities: np.ndarray
    f: Tensor
    far: float


class Model(Algorithm):
    """One pass of the network for all calls of a batch. A pass is not stopped: it takes some 50 ms a picture."""

    def __init__(self, network: EfficientNetLite0, classes: Classes, config: dict[str, Any], device: str) -> None:
        self.network, self.classes, self.config, self.device = network, classes, config, device

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """`weights`: a folder with config.json, classes.txt and model.safetensors; errors: ModelFailed."""
        with trained(weights, "cnn", CONFIG, NAMES, TENSORS) as folder:
            network, classes = EfficientNetLite0(), Classes.read(folder / NAMES)
            network.load_state_dict(read_tensors(folder))
            if len(classes.names) != network.fc.out_features:
                raise unusable(
                    f"{NAMES} has {len(classes.names):,} classes and the network {network.fc.out_features:,}",
                    f"take the {NAMES} that it was trained with",
                )
            channels_last(network)
            stored = read_json(folder / CONFIG)
            config = {name: stored[name] for name in ("side", "sure", "domain")}
            return cls(network.to(device).eval(), classes, config, device)

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        answers: list = [self._opened(call) for call in calls]
        good = [n for n, answer in enumerate(answers) if isinstance(answer, Seen)]
        for n, found in zip(good, self.sort([answers[n].square for n in good]), strict=True):
            answers[n] = self._told(calls[n], answers[n], found)
            calls[n].answer(answers[n])
        return answers

    def _opened(self, call: Call) -> Seen | BacklotError:
        try:
            read = picture_of(call)
            square, measured = middle(read.picture, self.config["side"]), quality.measure(read.picture)
            return Seen(square, measured, [*read.warnings, *_edges(read.picture)])
        except BacklotError as error:
            return error

    @torch.inference_mode()
    def sort(self, squares: Sequence[Image.Image]) -> list[Sorted]:
        """RGB pictures of side x side pixels, sorted into the classes."""
        if not squares:
            return []
        f, scores, far = self.network(tensor_of(squares).to(self.device))
        each = scores.double().softmax(dim=1).cpu().numpy()
        return [Sorted(*one) for one in zip(each, f, far.tolist(), strict=True)]

    def measures(self, found: Sorted) -> tuple[float, float]:
        """Entropy of the probabilities (nats), and d; both are higher for what the network does not know."""
        p = found.probabilities
        return float(-(p * np.log(p.clip(1e-12))).sum()), found.far

    def fit(self, found: Sorted) -> float:
        """How well a picture fits what the network learned: the sum of the two measures' standard scores, negated.

        0 is the mean of known photographs; the worse, the lower.
        """
        entropy, far = self.measures(found)
        known = self.config["domain"]
        (m, s), (mean, deviation) = known["entropy"], known["far"]
        return (m - entropy) / s + (mean - far) / deviation

    def _told(self, call: Call, seen: Seen, found: Sorted) -> Result | BacklotError:
        try:
            unless_canceled(call)
        except BacklotError as error:
            return error
        p = found.probabilities
        said = self.classes.say(p, self.config["sure"])
        order = [int(n) for n in p.argsort()[::-1] if said.members.size > 1 or n != said.members[0]]
        others = [(self.classes.names[n], float(p[n])) for n in order[: call.params.alternatives]]
        captions = [
            {"caption": caption, "logprob": min(math.log(max(chance, 1e-300)), 0.0), "probability": min(chance, 1.0)}
            for caption, chance in [(said.caption, said.probability), *others]
        ]
        maps = self._draw(seen.square, found, said, order[: TILES - 1], call.workdir)
        result = written(call, captions, seen.quality, NO_LIMIT, [*seen.warnings, *self._doubts(found, said)], [maps])
        call.report(1.0, "captioned")
        return result

    def _doubts(self, found: Sorted, said: Said) -> list[dict[str, str]]:
        best, fit, least = int(found.probabilities.argmax()), self.fit(found), self.config["domain"]["least"]
        likeliest = f"the likeliest of its classes, {self.classes.names[best]}, has {found.probabilities[best]:.2f}"
        strange = (
            f"the picture is unlike the photographs of {len(self.classes.names):,} classes that the model knows: its "
            f"fit is {fit:.2f}, under {least:.2f}; the caption may be of something else"
        )
        doubts = [warning("low_confidence", f"the model is unsure: {likeliest}")] if said.vague else []
        return [*doubts, *([warning("out_of_domain", strange)] if fit < least else [])]

    def _draw(self, picture: Image.Image, found: Sorted, said: Said, others: Sequence[int], folder: Path) -> Path:
        """classes.png: the caption's map and those of the likeliest classes beside it."""
        shown = [(said.caption, said.members), *((self.classes.names[n], np.array([n])) for n in others)]
        maps = np.stack([self.activation(found, members) for _, members in shown])
        strip(picture, maps, [words for words, _ in shown]).save(folder / "classes.png")
        return folder / "classes.png"

    @torch.inference_mode()
    def activation(self, found: Sorted, members: np.ndarray) -> np.ndarray:
        """M (rows, columns) of some classes: what speaks for them, none below 0, the highest 1."""
        shares = torch.from_numpy(found.probabilities[members]).float().to(self.device)
        w = (self.network.fc.weight[torch.from_numpy(members).to(self.device)] * shares[:, None]).sum(dim=0)
        map_ = torch.einsum("k,kyx->yx", w, found.f).clamp(min=0).cpu().numpy()
        return map_ / map_.max() if map_.max() > 0 else np.ones_like(map_)


def middle(picture: Image.Image, side: int) -> Image.Image:
    """The square in the middle of a picture, SEEN of its shorter side wide, as side x side pixels."""
    width, height = picture.size
    half = min(width, height) * SEEN / 2
    box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _edges(picture: Image.Image) -> list[dict[str, str]]:
    shape = max(picture.size) / min(picture.size)
    detail = f"only the square in the middle was looked at: the picture is {shape:.1f} times as long as it is wide"
    return [warning("edges_ignored", detail)] if shape > LONG else []
