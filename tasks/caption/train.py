"""How the captioners' networks were trained: `python -m worker.train caption/cnn-lstm`.

Scenes are composed while it trains, each seen once. Training takes TRAIN_SEEDS of scenes.py, the curve
VALIDATION_SEEDS, the test of the card (card.py) TEST_SEEDS; the three are disjoint.

Departure from Vinyals et al. 2015: beside the loss of the caption, the map of the encoder is taught where
the middle of each thing lies. The encoder learns from it at once, while the LSTM still knows little.
"""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption import scenes
from tasks.caption.cnn_lstm import Captioner
from tasks.caption.image import normalise
from tasks.caption.scenes import Composer, Scene
from tasks.caption.vocabulary import MAX_TOKENS, Vocabulary, meaning
from tasks.recipe import DataMissing, Recipe

SIDE = 80  # pixels
WIDTHS = [24, 48, 96, 192]  # channels of the stem and of the three stages
SIZE = 320  # of the picture vector, the word vectors and the LSTM's state
BATCH = 32
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 2e-3, 0.06, 0.02
CLIP = 5.0  # largest norm of a gradient
RARE = 5.0  # log odds of a place being empty, at the start
VALIDATION_SCENES = 384
IGNORED = -100  # padding behind <end>: not part of the loss


class CnnLstm(Recipe):
    """Show and Tell on composed scenes of emoji."""

    steps: ClassVar[int] = 4200
    every: ClassVar[int] = 300
    metric: ClassVar[str] = "wrong_captions"

    def __init__(self, data: Path, device: str) -> None:
        """Reads images/emoji; errors: DataMissing."""
        folder = data / "images" / "emoji"
        try:
            self.composer = Composer.read(folder)
        except FileNotFoundError as error:
            raise DataMissing(f"no emoji pictures at images/emoji of the data folder ({error.filename} is not there); "
                              "they are googlefonts/noto-emoji's png/128 with a table of names") from error
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.device = device
        self.vocabulary = Vocabulary(self.composer.things)
        self.index = {thing: n for n, thing in enumerate(self.vocabulary.things)}
        network = Captioner(len(self.vocabulary), len(self.vocabulary.things), WIDTHS, SIZE)
        nn.init.constant_(network.encoder.what.bias[-1:], RARE)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)

    def step(self, number: int) -> float:
        """One batch of scenes that no other step sees."""
        shown = [self.composer.scene(seed) for seed in seeds(number)]
        self.network.train()
        loss = self.loss(shown)
        self.optimiser.param_groups[0]["lr"] = rate(number, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        return loss.item()

    def loss(self, shown: list[Scene]) -> Tensor:
        """Mean negative log-likelihood of a caption, in nats, and of its picture's map."""
        tokens = self.targets(shown)
        said = torch.cat([torch.full_like(tokens[:, :1], self.vocabulary.start), tokens[:, :-1].clamp(min=0)], dim=1)
        logits, seen = self.network(self.pictures(shown), said)
        told = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=IGNORED, reduction="sum")
        mapped = functional.cross_entropy(seen, self.whereabouts(shown, *seen.shape[2:]), reduction="sum")
        return (told + mapped) / len(shown)

    def pictures(self, shown: list[Scene]) -> Tensor:
        """(batch, 3, SIDE, SIDE)."""
        return normalise([self.composer.draw(scene, SIDE) for scene in shown]).to(self.device)

    def targets(self, shown: list[Scene]) -> Tensor:
        """Token numbers (batch, longest), <end> last, then IGNORED."""
        rows = [self.vocabulary.encode(scene.tokens) for scene in shown]
        longest = max(map(len, rows))
        return torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows], device=self.device)

    def whereabouts(self, shown: list[Scene], rows: int, columns: int) -> Tensor:
        """What M should say (batch, things + 1, rows, columns): a thing's middle is shared by four places.

        The shares fall with the distance (bilinear), so that a map's sums and moments are the true numbers
        and, but for the rim, the true places.
        """
        wanted = np.zeros((len(shown), len(self.vocabulary.things) + 1, rows, columns), dtype=np.float32)
        for picture, scene in enumerate(shown):
            for placed in scene.things:
                thing = self.index[placed.thing]
                for row, part in shares(placed.y, rows):
                    for column, piece in shares(placed.x, columns):
                        wanted[picture, thing, row, column] += part * piece
        wanted[:, -1] = 1 - wanted.sum(axis=1)
        return torch.from_numpy(wanted).clamp_(min=0).to(self.device)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Shares of validation scenes whose greedy caption is wrong: at all, in its things, in its relation."""
        shown = [self.composer.scene(seed) for seed in scenes.VALIDATION_SEEDS[:VALIDATION_SCENES]]
        self.network.eval()
        said = [tokens for n in range(0, len(shown), BATCH) for tokens in self.greedy(shown[n:n + BATCH])]
        pairs = [(meaning(scene.tokens), meaning(tokens)) for scene, tokens in zip(shown, said, strict=True)]
        related = [(true[1], told[1]) for true, told in pairs if true[1]]
        return {"wrong_captions": _share(scene.tokens != tuple(tokens)
                                         for scene, tokens in zip(shown, said, strict=True)),
                "wrong_things": _share(true[0] != told[0] for true, told in pairs),
                "wrong_relations": _share(true != told for true, told in related)}

    @torch.no_grad()
    def greedy(self, shown: list[Scene]) -> list[list[str]]:
        """The tokens of each scene's caption, the likeliest word at each step."""
        state = self.network.begin(self.network.show(self.network.encoder(self.pictures(shown))))
        last = torch.full((len(shown),), self.vocabulary.start, device=self.device)
        columns = []
        for _ in range(MAX_TOKENS):
            scores, state = self.network.step(last, state)
            last = scores.argmax(dim=-1)
            columns.append(last)
        return [self.vocabulary.decode(row) for row in torch.stack(columns, dim=1).tolist()]

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder: Path, history: list[dict]) -> None:
        """model.safetensors, config.json and CARD.md, which has the test."""
        from tasks.caption.card import export  # it loads what was written, as a worker does

        config = {"side": SIDE, "widths": WIDTHS, "size": SIZE, "things": list(self.vocabulary.things)}
        export(self.network, config, self.composer, folder, history, BATCH)


def shares(place: float, places: int) -> list[tuple[int, float]]:
    """A coordinate from 0 to 1 between the middles of the two places next to it: their numbers and shares."""
    position = min(max(place * places - 0.5, 0.0), places - 1.0)
    before = min(int(position), places - 2)
    return [(before, 1 - (position - before)), (before + 1, position - before)]


def seeds(number: int) -> range:
    """The scenes of step `number`; no two steps share one."""
    return scenes.TRAIN_SEEDS[number * BATCH:(number + 1) * BATCH]


def rate(number: int, steps: int) -> float:
    """One cycle: up in a line, down in a half cosine. Depends on the step alone, so that a resumed training goes on."""
    done = number / steps
    if done < WARM_UP:
        return PEAK_RATE * max(done, 1 / steps) / WARM_UP
    return PEAK_RATE * max(0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))), 1e-3)


def _share(wrong) -> float:
    wrong = list(wrong)
    return sum(wrong) / len(wrong)


RECIPES = {"cnn-lstm": CnnLstm}
