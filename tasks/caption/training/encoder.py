"""How the encoder of scenes was trained: `python -m worker.train caption/encoder`, before any decoder.

It learns where the middle of each thing lies, from scenes drawn while it trains, each seen once: first crowds,
which show three times as many things a picture, then the scenes that are told. Training takes TRAIN_SEEDS of
scenes.py and nothing that things.py holds out, the curve VALIDATION_SEEDS. Knows nothing of decoders.
"""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption.encoder import SceneEncoder, channels_last
from tasks.caption.image import normalise
from tasks.caption.stored import read_tensors, write_tensors
from tasks.caption.training.scenes import TRAIN_SEEDS, VALIDATION_SEEDS, Composer, Scene, Sort
from tasks.caption.training.schedule import one_cycle
from tasks.recipe import DataMissing, Recipe

SIDE = 96  # pixels
WIDTHS = [24, 48, 96, 160]  # channels of the stem and of the three stages
BATCH = 32
PEAK_RATE, WEIGHT_DECAY = 3e-3, 0.02
CLIP = 20.0  # largest norm of a gradient
CROWDS = 0.65  # of the training; then scenes
VALIDATION_SCENES = 384
FOLDER = Path(__file__).parent.parent / "weights" / "encoder"


class Encoder(Recipe):
    """The map of scenes."""

    steps: ClassVar[int] = 2400
    every: ClassVar[int] = 400
    metric: ClassVar[str] = "wrong_scenes"

    def __init__(self, data: Path, device: str) -> None:
        """Reads images/emoji; errors: DataMissing."""
        self.composer = composer(data)
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.device = device
        self.network = SceneEncoder(WIDTHS, len(self.composer.things)).to(device)
        channels_last(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)

    def step(self, number: int) -> float:
        """One batch of pictures that no other step sees."""
        sort: Sort = "crowd" if number < CROWDS * self.steps else "known"
        shown = [self.composer.scene(seed, sort) for seed in seeds(number)]
        self.network.train()
        M = self.network.map(pictures(self.composer, shown, SIDE).to(self.device))
        wanted = whereabouts(self.composer.things, shown, *M.shape[2:]).to(self.device)
        loss = functional.cross_entropy(M, wanted, reduction="sum") / sum(len(scene.things) for scene in shown)
        self.optimiser.param_groups[0]["lr"] = PEAK_RATE * one_cycle(number, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        return loss.item()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Shares of validation scenes, of known and of new compositions, whose things the map counts wrongly."""
        self.network.eval()
        return {"wrong_scenes": self.wrong("known"), "wrong_new": self.wrong("new")}

    def wrong(self, sort: Sort) -> float:
        """Of scenes of one sort; a peak counts as the thing that it more likely is than not."""
        shown = [self.composer.scene(seed, sort) for seed in VALIDATION_SEEDS[:VALIDATION_SCENES]]
        wrong = 0
        for first in range(0, len(shown), BATCH):
            part = shown[first : first + BATCH]
            sight = self.network(pictures(self.composer, part, SIDE).to(self.device))
            counted = (sight.features > 0.5).sum(dim=1).cpu()
            wanted = whereabouts(self.composer.things, part, 2, 2)[:, :-1].sum(dim=(2, 3)).round()
            wrong += (counted != wanted).any(dim=1).sum().item()
        return wrong / len(shown)

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder: Path, history: list[dict]) -> None:
        """model.safetensors, config.json and the course of the training; the cards are the captioners'."""
        write_tensors(self.network, folder)
        config = {
            "side": SIDE,
            "widths": WIDTHS,
            "things": list(self.composer.things),
            "batch": BATCH,
            "history": history,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def composer(data: Path) -> Composer:
    """The scenes of images/emoji below the data folder; errors: DataMissing."""
    try:
        return Composer.read(data / "images" / "emoji")
    except FileNotFoundError as error:
        raise DataMissing(
            f"no emoji pictures at images/emoji of the data folder ({error.filename} is not there); "
            "they are googlefonts/noto-emoji's png/128 with a table of names"
        ) from error


def trained(folder: Path = FOLDER) -> tuple[SceneEncoder, dict]:
    """The encoder as exported, and its config; errors: DataMissing where it is not trained yet."""
    if not (folder / "model.safetensors").exists():
        raise DataMissing(f"the encoder of scenes is not at {folder.name} of the weights: train caption/encoder first")
    config = json.loads((folder / "config.json").read_text())
    network = SceneEncoder(config["widths"], len(config["things"]))
    network.load_state_dict(read_tensors(folder))
    channels_last(network)
    return network.eval(), config


def pictures(drawn_by: Composer, shown: list[Scene], side: int) -> Tensor:
    """(batch, 3, side, side)."""
    return normalise([drawn_by.draw(scene, side) for scene in shown])


def whereabouts(things: tuple[str, ...], shown: list[Scene], rows: int, columns: int) -> Tensor:
    """What M should say (batch, things + 1, rows, columns): a thing's middle is shared by four places.

    The shares fall with the distance (bilinear), so that a map's sums and moments are the true numbers
    and, but for the rim, the true places.
    """
    index = {thing: n for n, thing in enumerate(things)}
    wanted = np.zeros((len(shown), len(things) + 1, rows, columns), dtype=np.float32)
    for picture, scene in enumerate(shown):
        for placed in scene.things:
            for row, part in shares(placed.y, rows):
                for column, piece in shares(placed.x, columns):
                    wanted[picture, index[placed.thing], row, column] += part * piece
    wanted[:, -1] = 1 - wanted.sum(axis=1)
    return torch.from_numpy(wanted).clamp_(min=0)


def shares(place: float, places: int) -> list[tuple[int, float]]:
    """A coordinate from 0 to 1 between the middles of the two places next to it: their numbers and shares."""
    position = min(max(place * places - 0.5, 0.0), places - 1.0)
    before = min(int(position), places - 2)
    return [(before, 1 - (position - before)), (before + 1, position - before)]


def seeds(number: int) -> range:
    """The pictures of step `number`; no two steps share one."""
    return TRAIN_SEEDS[number * BATCH : (number + 1) * BATCH]
