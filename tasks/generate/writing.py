"""How calls are written out side by side: prompts are read, tokens chosen, and what ends leaves the batch.

It knows calls, choices and when a text ends; it does not know any network: that stands behind Reading. A checkpoint is
the tokens written so far: they are read again after the prompt, and the draws that chose them are drawn again.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np

from tasks.algorithm import Call, Result
from tasks.errors import BacklotError, Canceled
from tasks.generate import Params
from tasks.generate.answers import written
from tasks.generate.sampling import Continuation, choose

CANCEL_EVERY, REPORT_EVERY, SAVE_EVERY = 4, 16, 64  # passes between two looks
TAIL = 1000  # characters of the text so far that a report shows: its newest


class Reading(ABC):
    """Texts that a network reads side by side, one a row; rows never mix."""

    @abstractmethod
    def portions(self, ahead: Sequence[int]) -> list[int]:
        """How many of the tokens `ahead` of each row are read in the next pass; 0 lets a row wait."""

    @abstractmethod
    def read(self, tokens: Sequence[Sequence[int]], speakers: Sequence[int]) -> np.ndarray:
        """Each row reads its tokens; scores (speakers, vocabulary) of what comes next in the rows of `speakers`."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; a row named twice goes on as two."""


@dataclass(frozen=True)
class Prompt:
    """A call's prompt, as its model reads it.

    tokens       what is read before the first token is chosen
    counted      how many of them the caller is told of
    most         tokens that may be written
    spell        makes a function of its own for each choice: tokens one by one to text
    ends         tokens by which the model itself ends a text
    after_space  the prompt ended with a space, so the continuation does not begin with one
    params       how tokens are chosen, where a model has its own part in that; else the call's
    steer        makes of the tokens written so far and the scores of the next the scores to choose by
    warnings     reasons not to trust what is written
    """

    tokens: Sequence[int]
    counted: int
    most: int
    spell: Callable[[], Callable[[int], str]]
    ends: Container[int] = field(default_factory=frozenset)
    after_space: bool = False
    params: Params | None = None
    steer: Callable[[Sequence[int], np.ndarray], np.ndarray] | None = None
    warnings: Sequence[dict[str, str]] = ()


class Choice:
    """One continuation under way. `finish` is set when it has ended; `ahead` are tokens not yet read."""

    def __init__(self, asked: Params, prompt: Prompt, number: int) -> None:
        params = prompt.params or asked
        self.params, self.prompt, self.number = params, prompt, number
        self.random = np.random.default_rng([params.seed, number] if number else params.seed)
        self.continuation = Continuation(params.stop, prompt.after_space)
        self.spell = prompt.spell()
        self.seen = set(prompt.tokens) if params.repetition_penalty != 1 else set()
        self.ahead = list(prompt.tokens)
        self.tokens: list[int] = []
        self.finish: str | None = None

    @property
    def written(self) -> int:
        return len(self.tokens)

    def take(self, portion: int) -> list[int]:
        taken, self.ahead = self.ahead[:portion], self.ahead[portion:]
        return taken

    def hear(self, scores: np.ndarray) -> None:
        """Write one token more, by its scores (vocabulary,)."""
        steered = self.prompt.steer(self.tokens, scores) if self.prompt.steer else scores
        self._write(choose(steered, self.params, self.random, self.seen))

    def repeat(self, tokens: Sequence[int]) -> None:
        """Write what was chosen before, from the beginning; all of it is still to be read."""
        for token in tokens:
            self.random.random()  # as `choose` draws for each
            self._write(token)
        self.ahead = [*self.prompt.tokens, *tokens]

    def _write(self, token: int) -> None:
        self.ahead = [token]
        self.tokens.append(token)
        if self.params.repetition_penalty != 1:
            self.seen.add(token)
        if token not in self.prompt.ends:
            self.continuation.say(self.spell(token))
        if token in self.prompt.ends or self.continuation.stopped:
            self.finish = "stop"
        elif self.written == self.prompt.most:
            self.finish = "length"


class Answer:
    """One call under way; `error` where it ended without a result."""

    def __init__(self, call: Call, prompt: Prompt) -> None:
        self.call, self.prompt = call, prompt
        self.choices = [Choice(call.params, prompt, 0)]
        self.error: BacklotError | None = None
        self._made_from = {
            "prompt": hashlib.sha256(json.dumps(list(prompt.tokens)).encode()).hexdigest(),
            "params": call.params.model_dump(mode="json"),
        }
        before = self._saved(call.saved() or b"{}")
        if before:
            for choice, tokens in zip(self.branch(), before, strict=True):
                choice.repeat(tokens)

    def _saved(self, data: bytes) -> list[list[int]]:
        """The tokens of each choice in a checkpoint; none where it is of another request, or cannot be read."""
        try:
            saved = json.loads(data)
            return saved["choices"] if saved["made_from"] == self._made_from else []
        except (ValueError, LookupError, TypeError):
            return []

    def look(self, passes: int) -> None:
        """Between passes: has the caller canceled; tell people how far it is."""
        done, most = sum(choice.written for choice in self.choices), self.prompt.most * self.call.params.n
        if passes % CANCEL_EVERY == 0 and self.call.canceled():
            self.error = Canceled(f"canceled after {done} of at most {most} tokens")
        elif passes % REPORT_EVERY == 0:
            settled = self.choices[0].continuation.settled()
            self.call.report(done / most, settled[-TAIL:])
            self.call.so_far(settled)
        if done and passes % SAVE_EVERY == 0:
            state = {"made_from": self._made_from, "choices": [choice.tokens for choice in self.choices]}
            self.call.save(json.dumps(state).encode())

    def branch(self) -> list[Choice]:
        """All choices, where so far there was the first alone: its prompt has been read for all of them."""
        self.choices += [Choice(self.call.params, self.prompt, number) for number in range(1, self.call.params.n)]
        return self.choices

    @cached_property
    def outcome(self) -> Result | BacklotError:
        """Once it has ended; its files are written at the first look."""
        if self.error:
            return self.error
        told = [{"text": choice.continuation.text, "finish_reason": choice.finish} for choice in self.choices]
        tokens = sum(choice.written for choice in self.choices)
        return written(self.call, self.prompt.counted, told, tokens, self.prompt.warnings)


class Writing:
    """The batch: which row of the reading belongs to which choice."""

    def __init__(self, reading: Reading, answers: Sequence[Answer]) -> None:
        self.reading = reading
        self.rows = [(answer, choice) for answer in answers for choice in answer.choices]

    def run(self) -> None:
        for passes in count():
            for answer in dict.fromkeys(answer for answer, _ in self.rows):
                answer.look(passes)
            self._go_on(list(enumerate(self.rows)))
            if not self.rows:
                return
            self._pass()

    def _pass(self) -> None:
        portions = self.reading.portions([len(choice.ahead) for _, choice in self.rows])
        tokens = [choice.take(portion) for (_, choice), portion in zip(self.rows, portions, strict=True)]
        speakers = [row for row, (_, choice) in enumerate(self.rows) if not choice.ahead]
        heard = dict(zip(speakers, self.reading.read(tokens, speakers), strict=True))
        following = []
        for row, (answer, choice) in enumerate(self.rows):
            family = answer.branch() if row in heard and len(answer.choices) < answer.call.params.n else [choice]
            for each in family:
                if row in heard:
                    each.hear(heard[row])
                following.append((row, (answer, each)))
        self._go_on(following)

    def _go_on(self, following: list[tuple[int, tuple[Answer, Choice]]]) -> None:
        """Keep what has not ended; a call of which nothing is left is answered now, not with the last of its batch."""
        live = [
            (row, (answer, choice))
            for row, (answer, choice) in following
            if choice.finish is None and answer.error is None
        ]
        lives = {id(answer) for _, (answer, _) in live}
        for answer in dict.fromkeys(answer for _, (answer, _) in following):
            if id(answer) not in lives:
                answer.call.answer(answer.outcome)
        rows = [row for row, _ in live]
        if rows != list(range(len(self.rows))):
            self.reading.keep(rows)
        self.rows = [pair for _, pair in live]
