"""The recipes of generate on tiny Shakespeare, in characters: the same networks and steps as on prose, other text.

85 % of the characters are learned from, the 5 % after them decide which weights are kept, and the last 10 % are looked
at once, for the table.
"""

from pathlib import Path

import torch

from tasks.generate.baselines import KneserNey
from tasks.generate.tokens import shakespeare
from tasks.generate.train_language import LanguageRecipe
from tasks.generate.train_recurrent import Recurrent
from tasks.generate.train_transformer import Transformer
from worker.train import Training

TARGETS = {"rnn": 1.70, "lstm": 1.60, "transformer": 1.60}
KNESER_NEY_ORDER = 7


class Rnn(Recurrent):
    """Two layers of 256, as the baseline has."""

    algorithm = "rnn"
    read = staticmethod(shakespeare)
    embedding, hidden = 64, 256
    steps, every = 900, 100


class Lstm(Rnn):
    """Two layers of 256, as the baseline has; stepped by Muon."""

    algorithm = "lstm"
    steps, every = 700, 50


class Gpt(Transformer):
    """Four layers of 128 (on prose, of 192): there are fewer kinds of tokens, and less of them to learn from."""

    read = staticmethod(shakespeare)
    width = 128
    steps, every = 700, 50


RECIPES: dict[str, type[LanguageRecipe]] = {"rnn": Rnn, "lstm": Lstm, "transformer": Gpt}


def trained(name: str, data: Path, kept: Path, say) -> tuple[LanguageRecipe, dict]:
    """The recipe with its best weights, and the last entry of its history; goes on where an earlier run was stopped."""
    recipe = RECIPES[name](data, "cpu")
    training = Training(recipe, kept / f"shakespeare-{name}")
    training.resume()
    training.run(lambda: False, lambda now, entry: entry and say(
        f"{name}: step {entry['step']} of {recipe.steps}, {entry['seconds']:.0f} s, "
        f"validation perplexity {entry['perplexity']:.3f}"))
    recipe.restore(torch.load(training.folder / "best.pt", weights_only=True))
    return recipe, training.history[-1]


def table(data: Path, kept: Path, say) -> list[str]:
    """Rows for GENERATE.md."""
    lines = ["| model | parameters | steps | training, wall s | held out: nats a character | target |",
             "|---|---|---|---|---|---|"]
    for name in RECIPES:
        recipe, last = trained(name, data, kept, say)
        size = sum(value.numel() for value in recipe.network.parameters())
        nats = recipe.nats(recipe.tokens.test)
        lines.append(f"| {name} | {size / 1e6:.2f} M | {last['step']:,} | {last['seconds']:.0f} | {nats:.3f} | "
                     f"<= {TARGETS[name]:.2f} |")
        say(lines[-1])
    tokens = shakespeare(data)
    model = KneserNey(tokens.train.tolist(), tokens.size, KNESER_NEY_ORDER)
    lines.append(f"| {KNESER_NEY_ORDER}-gram, Kneser-Ney | | | | {model.nats_per_token(tokens.test.tolist()):.3f} | |")
    return lines
