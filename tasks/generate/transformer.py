"""A prompt continued by a transformer, GPT style: keys and values of what was read are kept, one token a pass.

Vaswani et al. (2017), the decoder alone, as Radford et al. (2019, "GPT-2") stack it; rotary positions, RMS norms,
squared ReLU, no biases, and two tokens read together with each, as tasks/generate/training/transformer.py tells. With
n(x) = x / sqrt(mean(x^2)), for a token t at place p:

    x = n(E[t] + B1[t-1] + B2[t-2])                                 (width,)
    q, k, v = Q n(x), K n(x), V n(x);   q, k <- n(q) R^p, n(k) R^p  a head at a time; R^p turns pairs of numbers
    x <- x + O sum_s softmax_s(sharpness q_p . k_s / sqrt(head)) v_s    over the last 256 places s <= p
    x <- x + D relu(U n(x))^2
    scores = S n(x)                                                 (vocabulary,)

The same seed gives the same text, alone or in any batch, and read in whatever portions: every sum is exact (exact.py),
the softmax's exponential is looked up. The rounding costs less than a thousandth of the perplexity (see the tests).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tasks.generate.exact import COARSE, EXACT, FINE, look_up, snap, table
from tasks.generate.language import fitted
from tasks.generate.prose import ProseModel
from tasks.generate.writing import Reading

CONTEXT = 256  # places that attention sees, as in training
HEAD, SHARPNESS, ROTARY = 32, 1.2, 10_000.0  # as in training
LONGEST = CONTEXT + 2048  # places of a text: a prompt, and max_tokens
LARGEST = 1024.0  # of a number of the stream; no trained network comes near
EPSILON = 1e-6


class Cache:
    """What rows have read so far.

    keys, values  (layers, rows, heads, CONTEXT, head); place p lies at p % CONTEXT
    places        (rows, CONTEXT) int64  which place lies there; beyond all, where none does yet
    read          (rows,) int64  how many tokens each row has read
    last          (rows, 2) int64  the two tokens before the next; the number past the vocabulary where none was
    """

    def __init__(self, network: "Network", rows: int) -> None:
        device = network.score.device
        shape = (network.layers, rows, network.width // HEAD, CONTEXT, HEAD)
        self.keys, self.values = (torch.zeros(shape, dtype=torch.float64, device=device) for _ in "kv")
        self.places = torch.full((rows, CONTEXT), LONGEST, device=device)
        self.read = torch.zeros(rows, dtype=torch.int64, device=device)
        self.last = torch.full((rows, 2), network.nothing, device=device)

    def keep(self, rows: list[int]) -> None:
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.places, self.read, self.last = self.places[rows], self.read[rows], self.last[rows]


class Network:
    """The formulas on top, for rows that never mix. Numbers of the stream are multiples of COARSE."""

    def __init__(self, tensors: dict[str, Tensor], device: str) -> None:
        """From the tensors of train_transformer.Network; errors: ModelFailed, where a sum may not be exact."""
        exact = {name: tensor.to(device, torch.float64) for name, tensor in tensors.items()}
        self.score = exact["score"].T.contiguous()
        self.nothing, self.width = exact["embedding"].shape  # the number of no token: past the last
        self.layers = sum(name.endswith(".qkv") for name in exact)
        self.embedding = snap(exact["embedding"], COARSE)
        blank = exact["before"].new_zeros(2, 1, self.width)
        self.before = snap(torch.cat([exact["before"], blank], dim=1), COARSE)  # nothing before adds nothing
        self.parts = [
            {name: exact[f"blocks.{n}.{name}"].flatten(0, -2).T.contiguous() for name in ("qkv", "out", "up", "down")}
            for n in range(self.layers)
        ]
        self._check_exact()
        self.exponential = table(lambda x: torch.exp(x.clamp(max=0)), FINE, device)
        speeds = ROTARY ** (-torch.arange(0, HEAD // 2, dtype=torch.float64) / (HEAD // 2))
        turned = torch.arange(LONGEST, dtype=torch.float64)[:, None] * speeds
        self.turn = tuple(snap(curve(turned), COARSE).to(device) for curve in (torch.cos, torch.sin))

    def _check_exact(self) -> None:
        """By Cauchy and Schwarz: n(x) has the length sqrt(width), so |W n(x)| <= |rows of W| sqrt(width)."""
        long = (self.width * 1.01) ** 0.5
        largest = [self.score.norm(dim=0).max() * long]
        for part in self.parts:
            told = part["qkv"].norm(dim=0).max() * long  # no v is larger, and no mean of them
            squares = (torch.linalg.matrix_norm(part["up"], 2) * long) ** 2  # the sum of relu(U n(x))^2 is at most this
            largest += [
                told * CONTEXT,
                part["out"].abs().sum(0).max() * told,
                part["up"].norm(dim=0).max() * long,
                part["down"].abs().max() * squares,
            ]
        worst = float(max(largest))
        if not worst < EXACT:
            raise ModelFailed(f"the weights are too large for exact sums ({worst:.0f}; the limit is {EXACT:.0f})")

    def read(self, tokens: Tensor, cache: Cache, rows: slice, layers: int | None = None) -> Tensor:
        """Tokens (rows, places) of these rows of the cache, which takes them in; (rows, places, width), normed.

        After so many `layers`; all of them where a text is to be gone on with.
        """
        whole = torch.cat([cache.last[rows], tokens], dim=1)
        cache.last[rows] = whole[:, -2:]
        places = cache.read[rows, None] + torch.arange(tokens.shape[1], device=tokens.device)
        cache.read[rows] = places[:, -1] + 1
        at = torch.arange(len(tokens), device=tokens.device)[:, None]
        cache.places[rows][at, places % CONTEXT] = places
        x = norm(self.embedding[tokens] + self.before[0][whole[:, 1:-1]] + self.before[1][whole[:, :-2]])
        hidden = cache.places[rows][:, None, :] > places[:, :, None]  # (rows, places, CONTEXT): not read yet then
        for part, keys, values in zip(self.parts[:layers], cache.keys, cache.values, strict=False):
            q, k, v = (norm(x) @ part["qkv"]).unflatten(-1, (3, -1, HEAD)).unbind(2)  # (rows, places, heads, head)
            keys[rows][at, :, places % CONTEXT] = self._turned(k, places)
            values[rows][at, :, places % CONTEXT] = snap(v, COARSE)
            q = snap(self._turned(q, places) * (SHARPNESS / HEAD**0.5), COARSE)
            x = add(x, self._heard(q, keys[rows], values[rows], hidden) @ part["out"])
            x = add(x, snap((norm(x) @ part["up"]).relu().square(), COARSE) @ part["down"])
        return norm(x)

    def _turned(self, x: Tensor, places: Tensor) -> Tensor:
        """Queries or keys (rows, places, heads, head), normed and turned by their places."""
        cos, sin = (part[places][:, :, None] for part in self.turn)
        first, second = norm(x).chunk(2, dim=-1)
        return snap(torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1), COARSE)

    def _heard(self, q: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
        """Attention: (rows, places, width)."""
        alike = q.transpose(1, 2) @ keys.transpose(2, 3)  # (rows, heads, places, CONTEXT)
        alike = alike.masked_fill(hidden[:, None], -torch.inf)
        weights = look_up(self.exponential, alike - alike.amax(-1, keepdim=True))
        weights = weights.masked_fill(hidden[:, None], 0.0)
        heard = snap(weights @ values / weights.sum(-1, keepdim=True), COARSE)
        return heard.transpose(1, 2).flatten(2)

    def scores(self, top: Tensor) -> np.ndarray:
        """(rows, width) to (rows, vocabulary)."""
        return (top @ self.score).cpu().numpy()


def norm(x: Tensor) -> Tensor:
    """Numbers whose squares have the mean 1, along the last axis."""
    return snap(x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt(), COARSE)


def add(x: Tensor, more: Tensor) -> Tensor:
    return snap(x + more, COARSE).clamp(-LARGEST, LARGEST)


class Attending(Reading):
    """Rows in one cache: prompts are read one after the other, each at once; then one token of every row a pass.

    What is longer than the context, as a prompt with a text that is taken up again, is read token by token beyond it: a
    place that is read takes the room of the one that lies a context before.
    """

    def __init__(self, network: Network, rows: int) -> None:
        self.network, self.cache = network, Cache(network, rows)

    def portions(self, ahead: Sequence[int]) -> list[int]:
        room = (CONTEXT - self.cache.read).tolist()
        prompt = next((row for row, tokens in enumerate(ahead) if tokens > 1 and room[row] > 1), None)
        return [1 if prompt is None else min(tokens, room[row]) * (row == prompt) for row, tokens in enumerate(ahead)]

    def read(self, tokens: Sequence[Sequence[int]], speakers: Sequence[int]) -> np.ndarray:
        reading = [row for row, given in enumerate(tokens) if given]
        rows = slice(None) if len(reading) == len(tokens) else slice(reading[0], reading[0] + 1)
        given = torch.tensor([tokens[row] for row in reading], device=self.network.score.device)
        top = self.network.read(given, self.cache, rows)[:, -1]
        speaking = [place for place, row in enumerate(reading) if row in set(speakers)]
        return self.network.scores(top[speaking])

    def keep(self, rows: Sequence[int]) -> None:
        self.cache.keep(list(rows))


class Model(ProseModel):
    """Continues English prose by a transformer; attention sees the last 256 tokens (about 850 characters) of prompt and
    text. A longer prompt is refused, or its end read, as `on_long_prompt` says."""

    name = "transformer"
    network_class = Network
    context = CONTEXT

    def fit(self, tokens: Sequence[int], call: Call) -> Sequence[int]:
        return fitted(tokens, CONTEXT - len(self.vocabulary.beginning), call.params.on_long_prompt)

    def reading(self, rows: int) -> Attending:
        return Attending(self.network, rows)

    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """After the first layer: films' neighbours by plot are better so than after the later ones."""
        device = self.network.score.device
        sums = [
            self.network.read(torch.tensor([window], device=device), Cache(self.network, 1), slice(None), layers=1)
            .sum((0, 1))
            .cpu()
            .numpy()
            for window in windows
        ]
        return np.stack(sums), np.array([float(len(window)) for window in windows])
