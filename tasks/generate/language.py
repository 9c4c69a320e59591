"""The class that all language models of generate share: prompts to answers, whatever network reads them.

It knows which calls are well-formed and who answers what; it does not know any network.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput, TooLarge
from tasks.generate import EMPTY, PROMPT_ONLY
from tasks.generate.answers import embedded
from tasks.generate.writing import Answer, Prompt, Reading, Writing
from tasks.text import blank
from tasks.warning import warning

ROWS = 128  # choices written side by side at most, which bounds the memory of keys and values
WINDOWS = 16  # of a text to embed, read side by side between two looks at whether the call was canceled


class LanguageModel(Algorithm):
    """Continues prompts and embeds them, all calls of a run side by side; one that ends leaves the batch."""

    @abstractmethod
    def prompt(self, call: Call) -> Prompt:
        """What the model reads of a call that is to be written on; errors: InvalidInput, TooLarge."""

    @abstractmethod
    def reading(self, rows: int) -> Reading:
        """So many texts, of which nothing has been read."""

    @abstractmethod
    def windows(self, text: str) -> list[list[int]]:
        """The tokens of a text to embed, cut to what the network reads at once; at least one token."""

    def embeddable(self, call: Call) -> tuple[list[list[int]], list[dict[str, str]]]:
        """The windows of a call to embed, and what is to be said of them; errors: InvalidInput, TooLarge."""
        return self.windows(usable(call.inputs.get("prompt"))), []

    @abstractmethod
    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """(windows, width): sums of what was understood at each token, weighted; and the weights' sums (windows,)."""

    def length(self, call: Call) -> int:
        """Passes, roughly: four characters a token."""
        prompt = call.inputs.get("prompt")
        said = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in call.inputs.get("messages") or []]
        most = call.params.max_tokens if call.params.mode == "generate" else 0
        return sum(len(text) for text in said) // 4 + most

    @torch.inference_mode()
    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """Errors of a call: InvalidInput, TooLarge, Canceled."""
        begun = [self._begin(call) for call in calls]
        for answers in shares([each for each in begun if isinstance(each, Answer)]):
            Writing(self.reading(sum(len(answer.choices) for answer in answers)), answers).run()
        embed(self, [each for each in begun if isinstance(each, Meaning)])
        return [each if isinstance(each, BacklotError) else each.outcome for each in begun]

    def _begin(self, call: Call) -> "Answer | Meaning | BacklotError":
        try:
            return Answer(call, self.prompt(call)) if call.params.mode == "generate" else Meaning(call, self)
        except BacklotError as error:
            call.answer(error)
            return error


def shares(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers in their order, so many together as have ROWS choices."""
    parts: list[list[Answer]] = []
    rows = ROWS
    for answer in answers:
        rows += answer.call.params.n
        if rows > ROWS:
            parts.append([])
            rows = answer.call.params.n
        parts[-1].append(answer)
    return parts


class Meaning:
    """A call to be embedded: the mean of what was understood in all windows of its text."""

    def __init__(self, call: Call, model: LanguageModel) -> None:
        """Errors: InvalidInput."""
        if call.inputs.get("messages") is not None:
            raise InvalidInput(PROMPT_ONLY)
        self.call = call
        self.windows, self.warnings = model.embeddable(call)
        self.sum: np.ndarray | float = 0.0
        self.weight, self.done = 0.0, 0
        self.error: BacklotError | None = None

    def look(self) -> None:
        if self.call.canceled():
            self.error = Canceled(f"canceled after {self.done} of {len(self.windows)} parts of the text")
            self.call.answer(self.error)
        self.call.report(self.done / len(self.windows), "")

    def add(self, vector: np.ndarray, weight: float) -> None:
        self.sum, self.weight, self.done = self.sum + vector, self.weight + weight, self.done + 1
        if self.done == len(self.windows):
            self.call.answer(self.outcome)

    @cached_property
    def outcome(self) -> Result | BacklotError:
        if self.error:
            return self.error
        tokens, mean = sum(map(len, self.windows)), np.asarray(self.sum / self.weight)
        return embedded(self.call, tokens, mean, self.warnings)


def embed(model: LanguageModel, meanings: Sequence[Meaning]) -> None:
    """All windows of all texts, like lengths side by side."""
    left = [(meaning, window) for meaning in meanings for window in meaning.windows]
    left.sort(key=lambda pair: len(pair[1]))
    while left:
        for meaning in dict.fromkeys(meaning for meaning, _ in left[:WINDOWS]):
            meaning.look()
        now = [(meaning, window) for meaning, window in left[:WINDOWS] if meaning.error is None]
        left = [(meaning, window) for meaning, window in left[WINDOWS:] if meaning.error is None]
        if now:
            sums, weights = model.pooled([window for _, window in now])
            for (meaning, _), vector, weight in zip(now, sums, weights, strict=True):
                meaning.add(vector, weight)


def usable(prompt: object) -> str:
    """The prompt, a text that UTF-8 can hold and in which there is something to see; errors: InvalidInput."""
    if not isinstance(prompt, str):
        raise InvalidInput("the prompt is not a text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the prompt has half a surrogate pair, which no UTF-8 text has") from error
    if blank(prompt):
        raise InvalidInput(EMPTY)
    return prompt


def fitted(tokens: Sequence[int], room: int, on_long_prompt: str) -> Sequence[int]:
    """A prompt's tokens, where they fit the model's context, or its last ones; errors: TooLarge."""
    if len(tokens) > room and on_long_prompt == "refuse":
        raise TooLarge(
            f"the prompt has {len(tokens):,} tokens and this model's context has room for {room:,}; shorten "
            "it, or set on_long_prompt to 'cut' to have its end read"
        )
    return tokens[-room:]


def cut(whole: int, read: int) -> list[dict[str, str]]:
    """The warning of a prompt of which only the end was read; none where all `whole` tokens were."""
    if read >= whole:
        return []
    detail = f"The prompt is longer than the model reads at once: of {whole:,} tokens only the last {read:,} were read."
    return [warning("prompt_cut", detail)]


def unknown(tokens: Sequence[int], tokenizer: Any) -> list[dict[str, str]]:
    """The warning of characters that a vocabulary has no token for, which are read as one and the same."""
    sign = tokenizer.unk_token_id
    framing = {tokenizer.bos_token_id, tokenizer.eos_token_id}  # often the same token, as GPT-2 has it
    count = 0 if sign in framing else list(tokens).count(sign)
    if not count:
        return []
    detail = (
        f"{count:,} of the prompt's {len(tokens):,} tokens are not in the model's vocabulary and were read as"
        " unknown: choose a model that was made for this language or script."
    )
    return [warning("out_of_domain", detail)]
