"""How the transformer of generate was trained: `python -m worker.train generate/transformer`.

Vaswani et al. (2017), the decoder alone as in Radford et al. (2019, "GPT-2"), section 2.3: norm before each part. What
came since and learns faster: rotary positions, Su et al. (2021); RMS norms without gains, of queries and keys too,
Henry et al. (2020); squared ReLU, So et al. (2021), section 4; no biases; Muon (muon.py). One departure of ours: a
token is read together with the two before it, each by a table of its own, so that no layer is spent on neighbours.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, relu, rms_norm, scaled_dot_product_attention

from tasks.generate.training.language import LanguageRecipe, schedule
from tasks.generate.training.muon import Muon
from tasks.generate.training.tokens import prose

WIDTH, LAYERS, HEAD, PREVIOUS = 192, 4, 32, 2  # HEAD: width of one head; PREVIOUS: tokens read together with each
CONTEXT, TEXTS = 256, 8  # tokens of a text in a step; texts in a step
SHARPNESS = 1.2  # of attention: scores are SHARPNESS / sqrt(HEAD) times the product of normed queries and keys
RATE, OTHER_RATE, WARM_UP, FALL = 0.02, 3e-3, 60, 0.6  # of Muon, and of AdamW beside it; see schedule
ROTARY = 10_000.0


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on the normed stream and added to it."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.qkv = nn.Parameter(uniform(3, width, width))
        self.out = nn.Parameter(torch.zeros(width, width))
        self.up = nn.Parameter(uniform(4 * width, width))
        self.down = nn.Parameter(torch.zeros(width, 4 * width))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """(texts, places, width) to the same."""
        texts, places, width = x.shape
        asked = (norm(x) @ self.qkv.flatten(0, 1).T).view(texts, places, 3, width // self.head, self.head)
        q, k, v = asked.permute(2, 0, 3, 1, 4)  # (texts, heads, places, head) each
        heard = scaled_dot_product_attention(
            rotate(norm(q), *turn), rotate(norm(k), *turn), v, is_causal=True, scale=SHARPNESS / self.head**0.5
        )
        x = x + heard.transpose(1, 2).reshape(texts, places, width) @ self.out.T
        return x + relu(norm(x) @ self.up.T).square() @ self.down.T


class Network(nn.Module):
    """Tokens (texts, places) to logits (texts, places, vocabulary)."""

    def __init__(self, vocabulary: int, width: int, layers: int, head: int, previous: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(vocabulary, width) * 0.3)
        self.before = nn.Parameter(torch.zeros(previous, vocabulary, width))
        self.blocks = nn.ModuleList(Block(width, head) for _ in range(layers))
        self.score = nn.Parameter(torch.zeros(vocabulary, width))
        self.head = head

    def forward(self, tokens: Tensor) -> Tensor:
        return self.hidden(tokens) @ self.score.T

    def hidden(self, tokens: Tensor) -> Tensor:
        """(texts, places, width), normed: what the scores are made of."""
        places = tokens.shape[1]
        x = self.embedding[tokens]
        for back, table in enumerate(self.before, start=1):
            x = x + pad(table[tokens[:, : max(0, places - back)]], (0, 0, min(back, places), 0))
        x, (cosine, sine) = norm(x), angles(places, self.head)
        turn = cosine.to(x.device), sine.to(x.device)
        for block in self.blocks:
            x = block(x, turn)
        return norm(x)


def norm(x: Tensor) -> Tensor:
    return rms_norm(x, (x.shape[-1],), eps=1e-6)


def angles(places: int, head: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (places, head / 2) by which place p turns each pair of a query's or key's numbers."""
    speeds = ROTARY ** (-torch.arange(0, head // 2) / (head // 2))
    turned = torch.arange(places)[:, None] * speeds
    return turned.cos(), turned.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each number of the first half of the last axis turned with its partner in the second."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def uniform(*shape: int) -> Tensor:
    """Variance 1 / (4 * columns)."""
    return torch.empty(shape).uniform_(-1, 1) * (0.75 / shape[-1]) ** 0.5


@torch.no_grad()
def nats_per_token(network: Network, tokens: Tensor, context: int, overlap: int, texts: int = 16) -> float:
    """Mean -ln p(token | up to `context` before): windows that overlap, of each the part that is new."""
    network.eval()
    fresh = context - overlap
    starts = range(0, len(tokens) - 1, fresh)
    total = 0.0
    for first in range(0, len(starts), texts):
        windows = [tokens[start : start + context + 1] for start in starts[first : first + texts]]
        whole = torch.stack([pad(window, (0, context + 1 - len(window)), value=-1) for window in windows])
        wanted = whole[:, 1:].clone()
        wanted[0 if first else 1 :, :overlap] = -1  # but for the first window, these were the last one's
        logits = network(whole[:, :-1].clamp(min=0))
        total += cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="sum").item()
    return total / (len(tokens) - 1)


class Transformer(LanguageRecipe):
    """Four layers of 192; each step reads 8 places of 256 tokens."""

    network: Network
    algorithm = "transformer"
    steps = 1150
    every = 100
    read = staticmethod(prose)
    width, context, texts = WIDTH, CONTEXT, TEXTS

    def build(self) -> None:
        self.network = Network(self.tokens.size, self.width, LAYERS, HEAD, PREVIOUS).to(self.device)
        matrices = [value for block in self.network.blocks for value in block.parameters()]
        others = [self.network.embedding, self.network.before, self.network.score]
        self.optimiser = Muon(matrices, others, RATE, OTHER_RATE)

    def step(self, number: int) -> float:
        read, wanted = self._texts(number)
        self.network.train()
        loss = cross_entropy(self.network(read).flatten(0, 1), wanted.flatten())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step(self.share(number))
        return loss.item()

    def share(self, number: int) -> float:
        return schedule(number, self.steps, WARM_UP, FALL)

    def _texts(self, number: int) -> tuple[Tensor, Tensor]:
        """What step `number` reads and should say next, (texts, context) each: places drawn from the training text."""
        random = torch.Generator().manual_seed(number)
        starts = torch.randint(len(self.tokens.train) - self.context, (self.texts,), generator=random)
        whole = torch.stack([self.tokens.train[start : start + self.context + 1] for start in starts])
        return whole[:, :-1], whole[:, 1:]

    def shape(self) -> dict[str, int]:
        return {
            "vocabulary": self.tokens.size,
            "width": self.width,
            "layers": LAYERS,
            "head": HEAD,
            "context": self.context,
        }

    def nats(self, tokens: Tensor) -> float:
        return nats_per_token(self.network, tokens, self.context, self.context // 2)

    def quick_nats(self, tokens: Tensor) -> float:
        return nats_per_token(self.network, tokens, self.context, 0)
