"""The trainings of transcribe, by algorithm, as `python -m worker.train transcribe/<algorithm>` looks them up."""

from tasks.recipe import Recipe
from tasks.transcribe.training.ctc import Dnn, Rnn
from tasks.transcribe.training.words import HmmWords

RECIPES: dict[str, type[Recipe]] = {"rnn": Rnn, "dnn": Dnn, "hmm-words": HmmWords}
