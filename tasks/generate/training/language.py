"""What the trainings of all language models share: the text, the curve, the books, and what ships.

It knows tokens and perplexities; it does not know how any network is built or stepped.
"""

import json
import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tasks.generate.training import baselines
from tasks.generate.training.card import card
from tasks.generate.training.tokens import Tokens
from tasks.recipe import Recipe

QUICK_TOKENS = 16_384  # of the validation text, for the curve
KNESER_NEY_ORDER = 4


class LanguageRecipe(Recipe):
    """A network that says which token comes next. Subclasses give it, its optimiser, and a step.

    read  the text it learns from: a function of tokens.py
    """

    metric = "perplexity"
    algorithm: ClassVar[str]
    read: "ClassVar[staticmethod[[Path], Tokens]]"
    network: nn.Module
    optimiser: Any  # one of torch's, or Muon; a subclass steps it

    def __init__(self, data: Path, device: str) -> None:
        self.device = device
        self.tokens = self.read(data).to(device)
        torch.manual_seed(0)
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make `network` and `optimiser`."""

    @abstractmethod
    def nats(self, tokens: Tensor) -> float:
        """Mean -ln p(token | what stands before it) over a text (n,)."""

    @abstractmethod
    def share(self, number: int) -> float:
        """Of the peak rate, at step `number`."""

    def quick_nats(self, tokens: Tensor) -> float:
        """The same or nearly, quicker: for the curve."""
        return self.nats(tokens)

    def evaluate(self) -> dict[str, float]:
        return {"perplexity": math.exp(self.quick_nats(self.tokens.validation[:QUICK_TOKENS]))}

    def state(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "vocabulary": self.tokens.identity,
        }

    def restore(self, state: dict) -> None:
        if state["vocabulary"] != self.tokens.identity:
            raise ValueError("the text gives another vocabulary than the one it was begun with")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder: Path, history: list[dict]) -> None:
        """Weights in half precision, rounded before they are tested: the card speaks of what is shipped."""
        weights = {name: value.half().cpu().contiguous() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict({name: value.float() for name, value in weights.items()})
        save_file(weights, folder / "model.safetensors")
        if self.tokens.write is not None:
            self.tokens.write(folder / "tokenizer.json")
        measured = self.measure()
        config = {**self.shape(), "held_out": measured}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "CARD.md").write_text(card(self.algorithm, measured, history, folder), encoding="utf-8")

    @abstractmethod
    def shape(self) -> dict[str, int]:
        """What people ask of a network's size, for config.json."""

    def measure(self) -> dict:
        """On the test text: nats a token and a character, of the network and of what it must beat."""
        train, test = self.tokens.train.tolist(), self.tokens.test.tolist()
        nats = {self.algorithm: self.nats(self.tokens.test)}
        for name, order in (("unigram", 1), ("trigram", 3)):
            probability = baselines.witten_bell(train, self.tokens.size, order)
            nats[name] = baselines.nats_per_token(probability, test, order)
        nats["kneser_ney"] = baselines.KneserNey(train, self.tokens.size, KNESER_NEY_ORDER).nats_per_token(test)
        characters = self.tokens.test_characters
        return {
            "tokens": len(test),
            "characters": characters,
            **{
                name: {"perplexity": math.exp(value), "nats_per_character": value * len(test) / characters}
                for name, value in nats.items()
            },
        }


def schedule(number: int, steps: int, warm_up: int, fall: float) -> float:
    """The rate's share of its peak: up in `warm_up` steps, level (so `steps` may be changed meanwhile), and over the
    last `fall` of all steps down to a fiftieth."""
    return min(1.0, (number + 1) / warm_up, max(0.02, (steps - number) / (fall * steps)))
