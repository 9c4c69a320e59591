"""The trainings of generate, by algorithm: what `python -m worker.train generate/<algorithm>` looks up."""

from tasks.generate.train_recurrent import Lstm, Rnn
from tasks.generate.train_transformer import Transformer
from tasks.recipe import Recipe

RECIPES: dict[str, type[Recipe]] = {"lstm": Lstm, "rnn": Rnn, "transformer": Transformer}
