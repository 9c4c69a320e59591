"""The class that all language models of generate share: prompts to answers, whatever network reads them.

It knows which calls are well-formed and who answers what; it does not know any network.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput, TooLarge
from tasks.generate.answers import embedded
from tasks.generate.writing import Answer, Prompt, Reading, Writing

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
        answers = [answer for answer in begun if isinstance(answer, Answer)]
        Writing(self.reading(len(answers)), answers).run()
        return [answer.outcome() if isinstance(answer, Answer) else answer for answer in begun]

    def _begin(self, call: Call) -> Answer | Result | BacklotError:
        try:
            return Answer(call, self.prompt(call)) if call.params.mode == "generate" else self._embed(call)
        except BacklotError as error:
            return error

    def _embed(self, call: Call) -> Result:
        if call.inputs.get("messages") is not None:
            raise InvalidInput("mode embed reads a prompt, not messages")
        windows = self.windows(usable(call.inputs.get("prompt")))
        total, weight = 0.0, 0.0
        for start in range(0, len(windows), WINDOWS):
            if call.canceled():
                raise Canceled(f"canceled after {start} of {len(windows)} parts of the text")
            sums, weights = self.pooled(windows[start:start + WINDOWS])
            total, weight = total + sums.sum(0), weight + weights.sum()
            call.report(min(1.0, (start + WINDOWS) / len(windows)), "")
        return embedded(call, sum(map(len, windows)), total / weight)


def usable(prompt: object) -> str:
    """The prompt, a text that UTF-8 can hold and that is not white space alone; errors: InvalidInput."""
    if not isinstance(prompt, str):
        raise InvalidInput("the prompt is not a text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the prompt has half a surrogate pair, which no UTF-8 text has") from error
    if not prompt.strip():
        raise InvalidInput("the prompt is empty: give at least one character that is not white space")
    return prompt


def fitted(tokens: Sequence[int], room: int, on_long_prompt: str) -> Sequence[int]:
    """A prompt's tokens, where they fit the model's context, or its last ones; errors: TooLarge."""
    if len(tokens) > room and on_long_prompt == "refuse":
        raise TooLarge(f"the prompt has {len(tokens):,} tokens and this model's context has room for {room:,}; shorten "
                       "it, or set on_long_prompt to 'cut' to have its end read")
    return tokens[-room:]
