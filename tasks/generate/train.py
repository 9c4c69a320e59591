"""How the LSTM language model of generate was trained: `python -m worker.train generate/lstm`.

Zaremba, Sutskever, Vinyals (2014), "Recurrent Neural Network Regularization": dropout between the layers
only, back-propagation through a span of time with the state carried from one span to the next. Press,
Wolf (2017), "Using the Output Embedding to Improve Language Models", section 3: the rows that read a
token in also score it, behind a projection. Departures: AdamW in place of SGD, its rate level and then
down in a line; a stream's state is now and then set to zero, because a job's text begins with no past.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tasks.generate import baselines
from tasks.generate.card import card
from tasks.generate.corpus import PARAGRAPH, read_prose
from tasks.generate.vocabulary import Vocabulary
from tasks.recipe import Recipe

VOCABULARY = 2048
EMBEDDING, HIDDEN, LAYERS, DROPOUT = 192, 320, 2, 0.1
STREAMS, SPAN = 16, 64  # texts read side by side; tokens a step reads of each
PEAK_RATE, WARM_UP, FALL, CLIP = 3e-3, 100, 0.25, 1.0  # warm-up in steps; the last FALL of all steps, the rate falls
FORGET = 1 / 16  # chance that a stream begins a span with no past
QUICK_TOKENS = 16_384  # of the validation text, for the curve


class Network(nn.Module):
    """Tokens (streams, span) to logits (streams, span, vocabulary), and the state after the last."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=dropout)
        self.projection = nn.Linear(hidden, embedding)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        past, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        query = self.projection(self.dropout(past))  # (streams, span, embedding)
        return query @ self.embedding.weight.T + self.bias, state

    def blank(self, streams: int) -> tuple[Tensor, Tensor]:
        """No past: hidden and cell, (layers, streams, hidden) each."""
        like = self.bias.new_zeros
        return (like(self.lstm.num_layers, streams, self.lstm.hidden_size),
                like(self.lstm.num_layers, streams, self.lstm.hidden_size))


@torch.no_grad()
def nats_per_token(network: Network, tokens: Tensor, streams: int = 16, span: int = 128) -> float:
    """Mean -ln p(token | what stands before it); `tokens` (n,) is cut into that many streams, each with no past."""
    network.eval()
    length = (len(tokens) - 1) // streams
    read, wanted = (tokens[i:i + length * streams].view(streams, length) for i in (0, 1))
    state, total = network.blank(streams), 0.0
    for start in range(0, length, span):
        logits, state = network(read[:, start:start + span], state)
        total += cross_entropy(logits.flatten(0, 1), wanted[:, start:start + span].flatten(), reduction="sum").item()
    return total / (length * streams)


class Lstm(Recipe):
    """Two layers of 320 over 14 novels; each step reads 64 tokens of 16 places."""

    steps = 3000
    every = 200
    metric = "perplexity"

    def __init__(self, data: Path, device: str) -> None:
        self.text, self.device = read_prose(data), device
        self.vocabulary = Vocabulary.learn(self.text.train, VOCABULARY)
        self.tokens = self._encode(self.text.train)
        self.validation = self._encode(self.text.validation)
        torch.manual_seed(0)
        self.network = Network(VOCABULARY, EMBEDDING, HIDDEN, LAYERS, DROPOUT).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), PEAK_RATE, weight_decay=0.01, fused=True)
        self.past = self.network.blank(STREAMS)
        self.epoch, self.streams = -1, self.tokens

    def _encode(self, books: list[str]) -> Tensor:
        return torch.tensor(self.vocabulary.encode(PARAGRAPH.join(books)), device=self.device)

    def step(self, number: int) -> float:
        read, wanted = self._span(number)
        for group in self.optimiser.param_groups:
            group["lr"] = PEAK_RATE * _schedule(number, self.steps)
        torch.manual_seed(number)  # dropout draws what this step always draws
        self.network.train()
        logits, past = self.network(read, self.past)
        loss = cross_entropy(logits.flatten(0, 1), wanted.flatten())
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.past = tuple(part.detach() for part in past)
        return loss.item()

    def _span(self, number: int) -> tuple[Tensor, Tensor]:
        """What step `number` reads and should say next, (streams, span) each; sets the past of streams that forget."""
        spans = (len(self.tokens) // STREAMS - 1) // SPAN
        epoch, place = divmod(number, spans)
        if epoch != self.epoch:  # each pass cuts the text at other places
            shift = int(np.random.default_rng(epoch).integers(len(self.tokens)))
            rolled = self.tokens.roll(-shift)
            self.streams = rolled[:len(rolled) // STREAMS * STREAMS].view(STREAMS, -1)
            self.epoch = epoch
        forgets = np.random.default_rng([1, number]).random(STREAMS) < (1 if place == 0 else FORGET)
        keeps = torch.tensor(~forgets, device=self.device).float()[None, :, None]
        self.past = tuple(part * keeps for part in self.past)
        start = place * SPAN
        return self.streams[:, start:start + SPAN], self.streams[:, start + 1:start + SPAN + 1]

    def evaluate(self) -> dict[str, float]:
        return {"perplexity": math.exp(nats_per_token(self.network, self.validation[:QUICK_TOKENS]))}

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "past": list(self.past),
                "vocabulary": self.vocabulary.tokenizer.to_str()}

    def restore(self, state: dict) -> None:
        if state["vocabulary"] != self.vocabulary.tokenizer.to_str():
            raise ValueError("the text gives another vocabulary than the one it was begun with")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.past = tuple(part.to(self.device) for part in state["past"])

    def export(self, folder: Path, history: list[dict]) -> None:
        """Weights in half precision, rounded before they are tested: the card speaks of what is shipped."""
        weights = {name: value.half().cpu().contiguous() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict({name: value.float() for name, value in weights.items()})
        save_file(weights, folder / "model.safetensors")
        self.vocabulary.write(folder / "tokenizer.json")
        measured = self._measure()
        config = {"vocabulary": VOCABULARY, "embedding": EMBEDDING, "hidden": HIDDEN, "layers": LAYERS,
                  "held_out": measured}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "CARD.md").write_text(card(measured, history, folder), encoding="utf-8")

    def _measure(self) -> dict:
        """On the test text: nats a token and a character, of the network and of what it must beat."""
        tokens = self._encode(self.text.test)
        characters = len(PARAGRAPH.join(self.text.test))
        train, test = self.tokens.tolist(), tokens.tolist()
        nats = {"lstm": nats_per_token(self.network, tokens)}
        for name, order in (("unigram", 1), ("trigram", 3)):
            probability = baselines.witten_bell(train, VOCABULARY, order)
            nats[name] = baselines.nats_per_token(probability, test, order)
        return {"tokens": len(tokens), "characters": characters,
                **{name: {"perplexity": math.exp(value), "nats_per_character": value * len(tokens) / characters}
                   for name, value in nats.items()}}


def _schedule(number: int, steps: int) -> float:
    """The rate's share of its peak: up, level (so `steps` may be changed meanwhile), down to a fiftieth."""
    return min(1.0, (number + 1) / WARM_UP, max(0.02, (steps - number) / (FALL * steps)))


RECIPES: dict[str, type[Recipe]] = {"lstm": Lstm}
