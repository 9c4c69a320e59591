"""How the recurrent language models of generate were trained: `python -m worker.train generate/lstm` (or rnn).

Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization": dropout between the layers
only, back-propagation through a span of time with the state carried from one span to the next. Press,
Wolf (2017), "Using the Output Embedding to Improve Language Models", section 3: the rows that read a
token in also score it, behind a projection. Departures: AdamW, or Muon (muon.py), in place of SGD, the rate level
and then down in a line; a stream's state is now and then set to zero, because a job's text begins with no past. A
plain network's recurrent matrices begin orthogonal, Saxe, McClelland, Ganguli (2014).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tasks.generate.training.language import LanguageRecipe, schedule
from tasks.generate.training.muon import Muon
from tasks.generate.training.tokens import prose

EMBEDDING, HIDDEN, LAYERS, DROPOUT = 192, 320, 2, 0.1
SPAN = 64  # tokens a step reads of each text
ADAM_RATE, RATE, OTHER_RATE, CLIP = 3e-3, 0.02, 3e-3, 1.0  # of AdamW alone; of Muon, and of AdamW beside it
FORGET = 1 / 16  # chance that a stream begins a span with no past
CELLS = {"lstm": nn.LSTM, "rnn": nn.RNN}
State = tuple[Tensor, ...]  # (layers, streams, hidden) each: hidden and, of an LSTM, cell


class Network(nn.Module):
    """Tokens (streams, span) to logits (streams, span, vocabulary), and the state after the last."""

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float = 0.0, cell: str = "lstm"
    ) -> None:
        super().__init__()
        self.cell, self.parts = cell, 2 if cell == "lstm" else 1
        self.embedding = nn.Embedding(vocabulary, embedding)
        setattr(self, cell, CELLS[cell](embedding, hidden, layers, batch_first=True, dropout=dropout))
        self.projection = nn.Linear(hidden, embedding)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        if cell == "rnn":
            for layer in range(layers):
                nn.init.orthogonal_(getattr(self.rnn, f"weight_hh_l{layer}"))

    @property
    def recurrence(self) -> nn.RNNBase:
        return getattr(self, self.cell)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        read = self.dropout(self.embedding(tokens))
        past, after = self.recurrence(read, state if self.parts > 1 else state[0])
        query = self.projection(self.dropout(past))  # (streams, span, embedding)
        return query @ self.embedding.weight.T + self.bias, after if self.parts > 1 else (after,)

    def blank(self, streams: int) -> State:
        """No past."""
        shape = self.recurrence.num_layers, streams, self.recurrence.hidden_size
        return tuple(self.bias.new_zeros(shape) for _ in range(self.parts))


@torch.no_grad()
def nats_per_token(network: Network, tokens: Tensor, streams: int = 16, span: int = 128) -> float:
    """Mean -ln p(token | what stands before it); `tokens` (n,) is cut into that many streams, each with no past."""
    network.eval()
    length = (len(tokens) - 1) // streams
    read, wanted = (tokens[i : i + length * streams].view(streams, length) for i in (0, 1))
    state, total = network.blank(streams), 0.0
    for start in range(0, length, span):
        logits, state = network(read[:, start : start + span], state)
        total += cross_entropy(logits.flatten(0, 1), wanted[:, start : start + span].flatten(), reduction="sum").item()
    return total / (length * streams)


class Recurrent(LanguageRecipe):
    """Two layers, stepped by Muon; each step reads 64 tokens of each text, and goes on in the next where it ended."""

    network: Network
    embedding, hidden, texts = EMBEDDING, HIDDEN, 32
    warm_up, fall = 30, 0.6
    read = staticmethod(prose)

    def build(self) -> None:
        self.network = Network(self.tokens.size, self.embedding, self.hidden, LAYERS, cell=self.algorithm)
        nn.init.normal_(self.network.embedding.weight, 0, 0.3)
        nn.init.zeros_(self.network.projection.weight)
        self.network.to(self.device)
        named = dict(self.network.named_parameters())
        chosen = [name for name in named if ".weight_" in name or name == "projection.weight"]
        self.optimiser = Muon([named.pop(name) for name in chosen], list(named.values()), RATE, OTHER_RATE)
        self.begin()

    def begin(self) -> None:
        """Nothing read yet."""
        self.past = self.network.blank(self.texts)
        self.epoch, self.streams = -1, self.tokens.train

    def step(self, number: int) -> float:
        read, wanted = self._span(number)
        torch.manual_seed(number)  # dropout draws what this step always draws
        self.network.train()
        logits, past = self.network(read, self.past)
        loss = cross_entropy(logits.flatten(0, 1), wanted.flatten())
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.advance(self.share(number))
        self.past = tuple(part.detach() for part in past)
        return loss.item()

    def share(self, number: int) -> float:
        return schedule(number, self.steps, self.warm_up, self.fall)

    def advance(self, share: float) -> None:
        self.optimiser.step(share)

    def _span(self, number: int) -> tuple[Tensor, Tensor]:
        """What step `number` reads and should say next, (streams, span) each; sets the past of streams that forget."""
        train = self.tokens.train
        spans = (len(train) // self.texts - 1) // SPAN
        epoch, place = divmod(number, spans)
        if epoch != self.epoch:  # each pass cuts the text at other places
            shift = int(np.random.default_rng(epoch).integers(len(train)))
            rolled = train.roll(-shift)
            self.streams = rolled[: len(rolled) // self.texts * self.texts].view(self.texts, -1)
            self.epoch = epoch
        forgets = np.random.default_rng([1, number]).random(self.texts) < (1 if place == 0 else FORGET)
        keeps = torch.tensor(~forgets, device=self.device).float()[None, :, None]
        self.past = tuple(part * keeps for part in self.past)
        start = place * SPAN
        return self.streams[:, start : start + SPAN], self.streams[:, start + 1 : start + SPAN + 1]

    def shape(self) -> dict[str, int]:
        return {"vocabulary": self.tokens.size, "embedding": self.embedding, "hidden": self.hidden, "layers": LAYERS}

    def nats(self, tokens: Tensor) -> float:
        return nats_per_token(self.network, tokens)

    def state(self) -> dict:
        return {**super().state(), "past": list(self.past)}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.past = tuple(part.to(self.device) for part in state["past"])


class Lstm(Recurrent):
    """An LSTM over 14 novels. What ships was trained by AdamW, before Muon was tried, and so is this."""

    algorithm = "lstm"
    steps, every = 3000, 200
    texts, warm_up, fall = 16, 100, 0.25

    def build(self) -> None:
        self.network = Network(self.tokens.size, self.embedding, self.hidden, LAYERS, DROPOUT).to(self.device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), ADAM_RATE, weight_decay=0.01, fused=True)
        self.begin()

    def advance(self, share: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = ADAM_RATE * share
        self.optimiser.step()


class Rnn(Recurrent):
    """A plain recurrent network over 14 novels."""

    algorithm = "rnn"
    steps, every = 900, 100
