"""What `python -m worker.train transcribe/<algorithm>` can train. The trainings themselves stand in ctc.py and words.py."""

from tasks.recipe import Recipe
from tasks.transcribe.training.ctc import Dnn, Rnn
from tasks.transcribe.training.words import HmmWords

RECIPES: dict[str, type[Recipe]] = {"rnn": Rnn, "dnn": Dnn, "hmm-words": HmmWords}
