"""The trainings of generate, by algorithm: what `python -m worker.train generate/<algorithm>` looks up."""

from tasks.generate.training.recurrent import Lstm, Rnn
from tasks.generate.training.transformer import Transformer
from tasks.recipe import Recipe

RECIPES: dict[str, type[Recipe]] = {"lstm": Lstm, "rnn": Rnn, "transformer": Transformer}
