"""A prompt continued by a long short-term memory language model, one token of every call a pass.

Hochreiter, Schmidhuber (1997) with the forget gate of Gers, Schmidhuber, Cummins (2000); two layers as in
Zaremba, Sutskever, Vinyals (2014); read and scored through one embedding, Press, Wolf (2017). For a token x:

    i, f, o = sigmoid(W x + U h + b)    g = tanh(W x + U h + b)     (rows, hidden) each
    c <- f c + i g                      h <- o tanh(c)              the second layer reads the first's h
    scores = E (P h + p) + s                                        (rows, vocabulary)

The same seed gives the same text, alone or in any batch. A matrix product's last bits depend on how many
rows it has; so everything here is a whole number of some 2^-n, few enough that float64 holds every product
and sum exactly, and a sum without rounding is the same in any order. See `Network`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import BacklotError, Canceled, InvalidInput, ModelFailed
from tasks.generate.corpus import normalise
from tasks.generate.sampling import Continuation, choose
from tasks.generate.vocabulary import Vocabulary

CONTEXT = 512  # tokens of a prompt that are read: its last ones
SURELY = 32 * CONTEXT  # characters that hold as many tokens; what stands before is not even encoded
CANCEL_EVERY, REPORT_EVERY = 4, 16  # passes between two looks
TAIL = 80  # characters of the text so far that a report shows

FINE, COARSE = 2.0**-24, 2.0**-12  # every float16 is a whole number of FINE
SATURATED = 16.0  # past it, sigmoid and tanh are 0 or 1 to within COARSE


class Network:
    """The formulas on top, for rows that never mix.

    Weights (as shipped, float16) and cells are multiples of FINE, activations are rounded to COARSE, sigmoid
    and tanh are looked up. A sum of their products is then exact below 2^53 * FINE * COARSE = 2^17, which
    loading checks. The rounding costs less than a thousandth of the perplexity (see the tests).
    """

    def __init__(self, tensors: dict[str, Tensor], device: str) -> None:
        """From the tensors of tasks/generate/train.py's Network; errors: ModelFailed, where a sum may not be exact."""
        exact = {name: tensor.to(device, torch.float64) for name, tensor in tensors.items()}
        self.layers = sum(name.startswith("lstm.weight_hh_l") for name in exact)
        self.hidden = exact["lstm.weight_hh_l0"].shape[1]
        self.biases = [exact[f"lstm.bias_ih_l{n}"] + exact[f"lstm.bias_hh_l{n}"] for n in range(self.layers)]
        self.recurrent = [exact[f"lstm.weight_hh_l{n}"].T.contiguous() for n in range(self.layers)]
        self.inputs = [exact[f"lstm.weight_ih_l{n}"].T.contiguous() for n in range(1, self.layers)]
        self.projection, self.projection_bias = exact["projection.weight"].T.contiguous(), exact["projection.bias"]
        self.embedding, self.bias = exact["embedding.weight"].T.contiguous(), exact["bias"]
        read = snap(exact["embedding.weight"], COARSE)
        first = exact["lstm.weight_ih_l0"].T
        self.read = read @ first + self.biases[0]  # (vocabulary, 4 * hidden): what each token says to layer 0
        self._check_exact(read, first)
        whole = torch.arange(-SATURATED, SATURATED + COARSE, COARSE, dtype=torch.float64)
        self.sigmoid, self.tanh = (snap(f(whole), COARSE).to(device) for f in (torch.sigmoid, torch.tanh))

    def _check_exact(self, read: Tensor, first: Tensor) -> None:
        """No sum of magnitudes reaches 2^17; activations are at most 1, `read` and the query what they are."""
        query = self.projection.abs().sum(0).max() + self.projection_bias.abs().max()
        sums = [(weight, 1.0) for weight in (*self.recurrent, *self.inputs, self.projection)]
        sums += [(first, read.abs().max()), (self.embedding, query)]
        largest = max(float(weight.abs().sum(0).max() * size) for weight, size in sums)
        if not largest < 2.0**15:  # up to four such sums and biases are added
            raise ModelFailed(f"the weights are too large for exact sums ({largest:.0f}; the limit is {2**15})")

    def blank(self, rows: int) -> tuple[Tensor, Tensor]:
        """No past: h and c, (layers, rows, hidden) each."""
        zeros = self.bias.new_zeros(self.layers, rows, self.hidden)
        return zeros, zeros.clone()

    def step(self, tokens: Sequence[int], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One token a row: (rows,), and the state after it."""
        new_h, new_c = [], []
        for layer in range(self.layers):
            heard = self.read[list(tokens)] if layer == 0 else new_h[-1] @ self.inputs[layer - 1] + self.biases[layer]
            i, f, g, o = (heard + h[layer] @ self.recurrent[layer]).chunk(4, dim=1)
            cell = look_up(self.sigmoid, f) * c[layer] + look_up(self.sigmoid, i) * look_up(self.tanh, g)
            new_c.append(snap(cell, FINE))
            new_h.append(snap(look_up(self.sigmoid, o) * look_up(self.tanh, new_c[-1]), COARSE))
        return torch.stack(new_h), torch.stack(new_c)

    def scores(self, top: Tensor) -> np.ndarray:
        """(rows, hidden) of the last layer to (rows, vocabulary)."""
        query = snap(top @ self.projection + self.projection_bias, COARSE)
        return (query @ self.embedding + self.bias).cpu().numpy()


def snap(values: Tensor, grid: float) -> Tensor:
    """The nearest multiples of `grid`, a power of two."""
    return torch.round(values / grid) * grid


def look_up(table: Tensor, values: Tensor) -> Tensor:
    """The function that `table` holds from -SATURATED to SATURATED, at the multiple of COARSE nearest to each value."""
    return table[(torch.round(values.clamp(-SATURATED, SATURATED) / COARSE) + SATURATED / COARSE).long()]


class Writing:
    """One call under way: its prompt is read first, then it writes; `answer` is set when it has ended."""

    def __init__(self, call: Call, vocabulary: Vocabulary) -> None:
        """Errors: InvalidInput, where the prompt is not a text or has no character but white space."""
        self.call, self.params, self.vocabulary = call, call.params, vocabulary
        prompt = usable(call.inputs.get("prompt"))
        asked = prompt.removesuffix(" ")  # words begin with their space: what follows must be free to
        self.prompt = vocabulary.encode(asked[-SURELY:])[-CONTEXT:]
        self.ahead = [*vocabulary.beginning, *self.prompt][::-1]  # to be read yet, the next one last
        self.continuation = Continuation(self.params.stop, after_space=prompt != asked)
        self.random = np.random.default_rng(self.params.seed)
        self.written = 0
        self.answer: Result | BacklotError | None = None

    @property
    def reads(self) -> bool:
        """Whether tokens of the prompt are left, so that the scores after this pass do not matter."""
        return bool(self.ahead)

    def hear(self, scores: np.ndarray) -> None:
        """Write one token more, by its scores (vocabulary,)."""
        token = choose(scores, self.params, self.random)
        self.ahead.append(token)
        self.continuation.add(self.vocabulary.pieces[token])
        self.written += 1
        if self.continuation.stopped or self.written == self.params.max_tokens:
            self.answer = self._result()

    def look(self, passes: int) -> None:
        """Between passes: has the caller canceled; tell people how far it is."""
        if passes % CANCEL_EVERY == 0 and self.call.canceled():
            self.answer = Canceled(f"canceled after {self.written} of at most {self.params.max_tokens} tokens")
        elif passes % REPORT_EVERY == 0:
            self.call.report(self.written / self.params.max_tokens, self.continuation.settled()[-TAIL:])

    def _result(self) -> Result:
        file = self.call.workdir / "text.txt"
        file.write_text(self.continuation.text, encoding="utf-8", newline="")
        return Result({"text": self.continuation.text,
                       "finish_reason": "stop" if self.continuation.stopped else "length",
                       "usage": {"prompt_tokens": len(self.prompt), "completion_tokens": self.written}}, (file,))


def usable(prompt: object) -> str:
    """The prompt as the network was taught to read; errors: InvalidInput."""
    if not isinstance(prompt, str):
        raise InvalidInput("the prompt is not a text")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the prompt has half a surrogate pair, which no UTF-8 text has") from error
    plain = normalise(prompt)
    if not plain:
        raise InvalidInput("the prompt is empty: give at least one character that is not white space")
    return plain


class Model(Algorithm):
    """Continues English prose. Of a longer prompt, the last 512 tokens (about 1,800 characters) are read.

    The prompt is read as the training text was written: plain quotes and dashes, lines joined into
    paragraphs, single spaces (tasks/generate/corpus.py).
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """From a folder with model.safetensors and tokenizer.json; errors: ModelFailed."""
        for name in ("model.safetensors", "tokenizer.json"):
            if weights is None or not (weights / name).is_file():
                raise ModelFailed(f"generate by lstm needs a folder of weights with {name}; {weights} has none")
        network = Network(load_file(weights / "model.safetensors"), device)
        return cls(network, Vocabulary.read(weights / "tokenizer.json"))

    def length(self, call: Call) -> int:
        """Passes, roughly: four characters a token."""
        prompt = call.inputs.get("prompt")
        return min(len(prompt) // 4 if isinstance(prompt, str) else 0, CONTEXT) + call.params.max_tokens

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """All calls at once; one that ends leaves the batch. Errors of a call: InvalidInput, Canceled."""
        begun = [self._begin(call) for call in calls]
        self._write([writing for writing in begun if isinstance(writing, Writing)])
        return [writing.answer if isinstance(writing, Writing) else writing for writing in begun]

    def _begin(self, call: Call) -> Writing | BacklotError:
        try:
            return Writing(call, self.vocabulary)
        except InvalidInput as error:
            return error

    @torch.inference_mode()
    def _write(self, live: list[Writing]) -> None:
        h, c = self.network.blank(len(live))
        passes = 0
        while live:
            for writing in live:
                writing.look(passes)
            live, h, c = _without_ended(live, h, c)
            if live:
                h, c = self.network.step([writing.ahead.pop() for writing in live], h, c)
                self._speak(live, h[-1])
                live, h, c = _without_ended(live, h, c)
            passes += 1

    def _speak(self, live: list[Writing], top: Tensor) -> None:
        speakers = [row for row, writing in enumerate(live) if not writing.reads]
        if speakers:
            for row, scores in zip(speakers, self.network.scores(top[speakers]), strict=True):
                live[row].hear(scores)


def _without_ended(live: list[Writing], h: Tensor, c: Tensor) -> tuple[list[Writing], Tensor, Tensor]:
    kept = [row for row, writing in enumerate(live) if writing.answer is None]
    if len(kept) == len(live):
        return live, h, c
    return [live[row] for row in kept], h[:, kept], c[:, kept]
