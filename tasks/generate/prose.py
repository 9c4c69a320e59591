"""What the models that we trained on novels share: the folder of weights, the vocabulary, how a prompt is read.

It knows texts and tokens; the networks stand in lstm.py, rnn.py and transformer.py.
"""

import codecs
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from tasks.algorithm import Call
from tasks.errors import InvalidInput
from tasks.folder import TENSORS, trained, unusable
from tasks.generate import no_conversation
from tasks.generate.language import LanguageModel, cut, usable
from tasks.generate.plain import normalise
from tasks.generate.vocabulary import Vocabulary
from tasks.generate.writing import Prompt

TOKENIZER = "tokenizer.json"


class ProseModel(LanguageModel):
    """Continues English prose. The prompt is read as the training text was written: plain quotes and dashes, lines
    joined into paragraphs, single spaces (tasks/generate/plain.py).

    name     the algorithm's
    network  made of a folder's tensors, for a device
    context  tokens that are read at once
    """

    name: str
    network_class: Callable[..., Any]
    context: int

    def __init__(self, network: Any, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "ProseModel":
        """From a folder with model.safetensors and tokenizer.json; errors: ModelFailed."""
        with trained(weights, cls.name, TENSORS, TOKENIZER) as folder:
            tensors, vocabulary = load_file(folder / TENSORS), Vocabulary.read(folder / TOKENIZER)
            rows = next(len(tensor) for name, tensor in tensors.items() if name in ("embedding", "embedding.weight"))
            if rows != len(vocabulary):
                raise unusable(
                    f"the tokenizer has {len(vocabulary):,} tokens and the network {rows:,}",
                    "take the tokenizer.json that it was trained with",
                )
            return cls(cls.network_class(tensors, device), vocabulary)

    @abstractmethod
    def fit(self, tokens: Sequence[int], call: Call) -> Sequence[int]:
        """The tokens that are read of a prompt's; errors: TooLarge."""

    def prompt(self, call: Call) -> Prompt:
        if call.inputs.get("messages") is not None:
            raise InvalidInput(no_conversation(self.name))
        text = normalise(usable(call.inputs.get("prompt")))
        asked = text.removesuffix(" ")  # words begin with their space: what follows must be free to
        whole = self.vocabulary.encode(asked)
        tokens = self.fit(whole, call)
        return Prompt(
            [*self.vocabulary.beginning, *tokens],
            len(tokens),
            call.params.max_tokens,
            self.speller,
            after_space=text != asked,
            warnings=cut(len(whole), len(tokens)),
        )

    def speller(self) -> Callable[[int], str]:
        """Token by token to text: whole characters only; bytes that make none are left out."""
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        return lambda token: decoder.decode(self.vocabulary.pieces[token])

    def windows(self, text: str) -> list[list[int]]:
        tokens = self.vocabulary.encode(normalise(text))
        return [tokens[start : start + self.context] for start in range(0, len(tokens), self.context)]
