"""How the decoders of scenes were trained: `python -m worker.train caption/cnn-lstm`, cnn-attention or transformer.

The encoder is trained before (encoder.py) and stays as it is. A decoder learns from what the encoder should
see, made from the scenes themselves with faults of the sort an encoder makes: nothing need be drawn, so it can be
told many more scenes. In most of them the things are blanks: vectors made anew for each step, without a name. Else a
decoder learns which things it never saw together, and never says so ('a hammer and a hammer', where two hammers were
held out); of blanks it can only learn what holds for any thing. The curve and the test are of what the encoder does
see. Training takes TRAIN_SEEDS of scenes.py and nothing that things.py holds out, the curve VALIDATION_SEEDS, the
test of the card (card.py) TEST_SEEDS; the three are disjoint.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tasks.caption import cnn_attention, cnn_lstm, self_attention, transformer
from tasks.caption.captioner import Captioner, Network
from tasks.caption.encoder import MOST, Sight
from tasks.caption.stored import read_tensors
from tasks.caption.teller import Teller
from tasks.caption.training import encoder as train_encoder
from tasks.caption.training.control import WithoutAttention
from tasks.caption.training.lessons import IGNORED, Lessons
from tasks.caption.training.scenes import BOTH, TRAIN_SEEDS, VALIDATION_SEEDS, Scene, Sort
from tasks.caption.vocabulary import MAX_TOKENS, Vocabulary, meaning
from tasks.recipe import Recipe

BATCH = 64
FIRST_SEED = 10_000_000  # of TRAIN_SEEDS, by number: the encoder has those before
WEIGHT_DECAY = 0.02
VALIDATION_SCENES = 384
ASTRAY = 0.03  # standard deviation of a thing's x and y, which go from -1 to 1
BLANKS = 64  # made anew for each step
CONFUSED, TAKEN = 0.3, 0.45  # how often a thing is taken for another; how much of its likelihood, at most


class SceneTeller(Recipe):
    """A decoder of scenes; subclasses say which. blank: the share of scenes whose things are blanks."""

    steps: ClassVar[int] = 700
    every: ClassVar[int] = 300
    metric: ClassVar[str] = "wrong_captions"
    model: ClassVar[type[Captioner]]
    decoder: ClassVar[dict[str, Any]]
    peak_rate: ClassVar[float]
    batch: ClassVar[int] = BATCH
    blank: ClassVar[float] = 0.7

    def __init__(self, data: Path, device: str) -> None:
        """Reads images/emoji and the encoder's weights; errors: DataMissing."""
        self.composer = train_encoder.composer(data)
        self.encoder, self.seen = train_encoder.trained()
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.encoder, self.device = self.encoder.to(device), device
        self.words = Vocabulary(self.composer.things)
        teller = self.model.teller(len(self.words), len(self.words.things), named=True, **self.decoder)
        self.lessons = Lessons(teller.to(device), self.words, self.steps, self.peak_rate, WEIGHT_DECAY)
        self._validation: list[tuple[list[Scene], Sight]] = []

    def step(self, number: int) -> float:
        """One batch of scenes that no other step sees."""
        chance = np.random.default_rng(number)
        shown = [self.composer.scene(seed) for seed in seeds(number, self.batch)]
        blank = [scene_index(scene, self.words, chance if chance.random() < self.blank else None) for scene in shown]
        sight = imagined(shown, blank, len(self.words.things) + BLANKS, chance)
        self.lessons.teller.blanks = blanks(self.lessons.teller, number)
        loss = self.lessons.learn(number, sight.to(self.device), self.targets(shown, blank))
        self.lessons.teller.blanks = None
        return loss

    def targets(self, shown: list[Scene], index: list[dict[str, int]]) -> torch.Tensor:
        """Token numbers (batch, longest), <end> last, then IGNORED; a thing's is that of its index."""
        first = len(self.words) - len(self.words.things)
        rows = [
            [first + known[token] if token in known else self.words.number[token] for token in scene.tokens]
            + [self.words.end]
            for scene, known in zip(shown, index, strict=True)
        ]
        return torch.tensor([row + [IGNORED] * (MAX_TOKENS - len(row)) for row in rows])

    def evaluate(self) -> dict[str, float]:
        """Shares of validation scenes whose greedy caption is wrong: at all, in its things, in its relation."""
        self._validation = self._validation or [self._looked_at(sort) for sort in BOTH]
        (shown, sight), (new, of_new) = self._validation
        exact, things, relations = wrong(shown, self.lessons.greedy(sight))
        return {
            "wrong_captions": exact,
            "wrong_things": things,
            "wrong_relations": relations,
            "wrong_new_things": wrong(new, self.lessons.greedy(of_new))[1],
        }

    @torch.no_grad()
    def _looked_at(self, sort: Sort) -> tuple[list[Scene], Sight]:
        shown = [self.composer.scene(seed, sort) for seed in VALIDATION_SEEDS[:VALIDATION_SCENES]]
        return shown, self.encoder(train_encoder.pictures(self.composer, shown, self.seen["side"]).to(self.device))

    def state(self) -> dict:
        return self.lessons.state()

    def restore(self, state: dict) -> None:
        self.lessons.restore(state)

    def export(self, folder: Path, history: list[dict]) -> None:
        """model.safetensors, config.json, domain.safetensors and CARD.md, which has the test."""
        from tasks.caption.training.card import export  # it loads what was written, as a worker does

        network = Network(self.encoder, self.lessons.teller)
        config = {
            "encoder": {"name": "scenes", "widths": self.seen["widths"]},
            "side": self.seen["side"],
            "decoder": self.decoder,
            **self.words.config(),
        }
        export(self.model, network, config, self.composer, folder, history, self.seen, self.steps * self.batch)


class CnnLstm(SceneTeller):
    """Show and Tell."""

    every: ClassVar[int] = 600
    steps: ClassVar[int] = 12000  # one vector holds all that it is told: it learns more slowly than those that look
    blank: ClassVar[float] = 0.3
    model, peak_rate = cnn_lstm.Model, 2e-3
    decoder: ClassVar = {"size": 320, "dropout": 0.0}


class CnnAttention(SceneTeller):
    """Show, Attend and Tell."""

    every: ClassVar[int] = 600
    steps: ClassVar[int] = 9000
    model, peak_rate = cnn_attention.Model, 2e-3
    decoder: ClassVar = {"size": 256, "dropout": 0.0, "attention": 128}


class SelfAttention(SceneTeller):
    """Self-attention over places and a convolution, added to the trained CnnLstm; all of it goes on learning."""

    every: ClassVar[int] = 175
    steps: ClassVar[int] = 700
    batch: ClassVar[int] = 32
    blank: ClassVar[float] = 0.3
    model: ClassVar[type[Captioner]] = self_attention.Model
    peak_rate = 7e-4
    decoder: ClassVar = {"size": 320, "dropout": 0.0, "attention": 128}

    def __init__(self, data: Path, device: str) -> None:
        """Reads the weights of cnn-lstm too; errors: DataMissing."""
        super().__init__(data, device)
        begun = read_tensors(train_encoder.FOLDER.parent / "cnn-lstm")
        self.lessons.teller.load_state_dict(
            {name.removeprefix("teller."): value for name, value in begun.items() if name.startswith("teller.")},
            strict=False,  # what is new begins at zero or at random
        )


class SelfAttentionControl(SelfAttention):
    """The same size, steps and scenes without the attention; measured, never shipped."""

    model = WithoutAttention


class Transformer(SceneTeller):
    """Patches in, words out."""

    steps: ClassVar[int] = 1800
    model, peak_rate = transformer.Model, 1e-3
    decoder: ClassVar = {"size": 192, "dropout": 0.0, "layers": 2, "heads": 6, "longest": MAX_TOKENS}


def scene_index(scene: Scene, words: Vocabulary, chance: np.random.Generator | None) -> dict[str, int]:
    """The number of each thing of the scene, or of a blank for each where there is a `chance` to draw it by."""
    there = sorted({placed.thing for placed in scene.things})
    if chance is None:
        return {thing: words.things.index(thing) for thing in there}
    drawn = chance.choice(BLANKS, len(there), replace=False)
    return {thing: len(words.things) + int(n) for thing, n in zip(there, drawn, strict=True)}


def blanks(teller: Teller, seed: int) -> torch.Tensor:
    """Vectors (BLANKS, size) that could be those of things: as far apart, as long."""
    known = teller.words.weight[-teller.things :].detach()
    drawn = torch.randn(BLANKS, known.shape[1], generator=torch.Generator().manual_seed(seed))
    return known.mean(dim=0) + known.std(dim=0) * drawn.to(known.device)


def imagined(shown: list[Scene], index: list[dict[str, int]], things: int, chance: np.random.Generator) -> Sight:
    """What the encoder should see of the scenes, with faults. index: the number of each thing of each scene."""
    features = np.zeros((len(shown), MOST, things), dtype=np.float32)
    where = chance.normal(0, ASTRAY, (2, len(shown), MOST)).astype(np.float32)
    for row, (scene, known) in enumerate(zip(shown, index, strict=True)):
        for n, placed in enumerate(scene.things):
            taken = chance.uniform(0, TAKEN) if chance.random() < CONFUSED else 0.0
            features[row, n, known[placed.thing]] = 1 - taken
            features[row, n, chance.integers(things)] += taken
            where[:, row, n] += 2 * placed.x - 1, 2 * placed.y - 1
    where *= features.any(axis=2)
    x, y = torch.from_numpy(where)
    return Sight(torch.from_numpy(features), x, y, torch.zeros(x.shape, dtype=torch.int64), (1, 1))


def wrong(shown: list[Scene], told: list[list[str]]) -> tuple[float, float, float]:
    """Shares of scenes told wrongly: at all; in a thing or its number; in the relation, of those that have one."""
    pairs = [(meaning(scene.tokens), meaning(tokens)) for scene, tokens in zip(shown, told, strict=True)]
    related = [(true[1], said[1]) for true, said in pairs if true[1]]
    return (
        _share(scene.tokens != tuple(tokens) for scene, tokens in zip(shown, told, strict=True)),
        _share(true[0] != said[0] for true, said in pairs),
        _share(true != said for true, said in related),
    )


def seeds(number: int, batch: int = BATCH) -> range:
    """The scenes of step `number` that are imagined; no two steps share one."""
    return TRAIN_SEEDS[FIRST_SEED + number * batch : FIRST_SEED + (number + 1) * batch]


def _share(true: Iterable[bool]) -> float:
    each = list(true)
    return sum(each) / len(each)
