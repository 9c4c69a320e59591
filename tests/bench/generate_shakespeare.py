"""The recipes of generate on tiny Shakespeare, in characters: the same networks and steps as on prose, other text.

The last 10 % of the characters are held out, and choose nothing. First a network learns from 85 %, while the 5 %
between show how well it does; then it goes on, at a rate that rises and falls once more, with those 5 % too. What is
measured is what the last step left.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from tasks.generate.training.baselines import KneserNey
from tasks.generate.training.language import LanguageRecipe, schedule
from tasks.generate.training.recurrent import Recurrent
from tasks.generate.training.tokens import shakespeare
from tasks.generate.training.transformer import Transformer
from worker.train import Training

TARGETS = {"rnn": 1.70, "lstm": 1.60, "transformer": 1.60}
KNESER_NEY_ORDER = 7
WARM_UP, FALL = 30, 0.6


class Characters(LanguageRecipe):
    """`first` steps on the training part alone, the others on the validation part too."""

    first: ClassVar[int]
    read = staticmethod(shakespeare)

    def step(self, number: int) -> float:
        if number >= self.first and not self.whole:
            self.tokens = replace(self.tokens, train=torch.cat([self.tokens.train, self.tokens.validation]))
            self.epoch = -1  # where texts are read in streams, they are cut anew
            self.whole = True
        return super().step(number)

    whole = False

    def share(self, number: int) -> float:
        begun, steps = (0, self.first) if number < self.first else (self.first, self.steps - self.first)
        return schedule(number - begun, steps, WARM_UP, FALL)


class Rnn(Characters, Recurrent):
    """Two layers of 256, as the baseline has."""

    algorithm = "rnn"
    embedding, hidden = 64, 256
    first, steps, every = 900, 1300, 100


class Lstm(Characters, Recurrent):
    """Two layers of 256, as the baseline has; stepped by Muon."""

    algorithm = "lstm"
    embedding, hidden = 64, 256
    first, steps, every = 700, 1000, 100


class Gpt(Characters, Transformer):
    """Four layers of 128 (on prose, of 192): there are fewer kinds of tokens, and less of them to learn from."""

    width = 128
    first, steps, every = 700, 1400, 100


RECIPES: dict[str, type[Characters]] = {"rnn": Rnn, "lstm": Lstm, "transformer": Gpt}


def trained(name: str, data: Path, kept: Path, say) -> tuple[LanguageRecipe, dict]:
    """The recipe after its last step, and the last entry of its history; goes on where an earlier run was stopped."""
    recipe = RECIPES[name](data, "cpu")
    training = Training(recipe, kept / f"shakespeare-{name}")
    training.resume()
    training.run(
        lambda: False,
        lambda now, entry: (
            entry
            and say(
                f"{name}: step {entry['step']} of {recipe.steps}, {entry['seconds']:.0f} s, loss {entry['loss']:.3f}, "
                f"validation perplexity {entry['perplexity']:.3f}{' (learned from by now)' if recipe.whole else ''}"
            )
        ),
    )
    return recipe, training.history[-1]


def table(data: Path, kept: Path, say) -> list[str]:
    """Rows for GENERATE.md."""
    lines = [
        "| model | parameters | steps | training, wall s | held out: nats a character | target |",
        "|---|---|---|---|---|---|",
    ]
    for name in RECIPES:
        recipe, last = trained(name, data, kept, say)
        size = sum(value.numel() for value in recipe.network.parameters())
        nats = recipe.nats(recipe.tokens.test)
        lines.append(
            f"| {name} | {size / 1e6:.2f} M | {last['step']:,} | {last['seconds']:.0f} | {nats:.3f} | "
            f"<= {TARGETS[name]:.2f} |"
        )
        say(lines[-1])
    tokens = shakespeare(data)
    model = KneserNey(torch.cat([tokens.train, tokens.validation]).tolist(), tokens.size, KNESER_NEY_ORDER)
    lines.append(f"| {KNESER_NEY_ORDER}-gram, Kneser-Ney | | | | {model.nats_per_token(tokens.test.tolist()):.3f} | |")
    return lines
