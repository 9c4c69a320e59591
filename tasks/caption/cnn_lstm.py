"""Caption by a convolutional encoder and an LSTM that tells what it encodes.

Vinyals, Toshev, Bengio, Erhan, 'Show and Tell: A Neural Image Caption Generator' (2015), section 3,
whose letters we keep: x_-1 = CNN(I) is shown to the LSTM once, before the first word; then
x_t = W_e S_t and p_{t+1} = LSTM(x_t); the caption is found by beam search. Departures:

    - the CNN is small and trained here, or frozen (encoder.py), not an Inception network that is fine-tuned;
    - x_-1 is v of teller.py, the sums and first moments of what is seen: how many of which thing, and where; of
      scenes also how many things there are in all, how alike, and how far apart across and down;
    - W_e is the output layer too;
    - of scenes, a token is a thing, a number or a relation; articles and plurals are set by rule (vocabulary.py).
"""

import torch
from torch import Tensor, nn

from tasks.caption.captioner import Captioner
from tasks.caption.encoder import Sight
from tasks.caption.teller import Teller


class ShowAndTell(Teller):
    """v -> log p(S_0), log p(S_1 | S_0), ... State: the LSTM's h and c, each (1, batch, size)."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float) -> None:
        super().__init__(vocabulary, features, size, named, dropout)
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.overall = nn.Linear(4, size) if named else None

    def forward(self, sight: Sight, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(torch.cat([self.show(sight)[:, None], self.embed(tokens)], dim=1))
        return self.out(states[:, 1:])

    def begin(self, sight: Sight) -> tuple[Tensor, ...]:
        return self.lstm(self.show(sight)[:, None])[1]

    def show(self, sight: Sight) -> Tensor:
        """x_-1 (batch, size)."""
        return self.shown(self.annotate(sight), sight)

    def shown(self, a: Tensor, sight: Sight) -> Tensor:
        """a (batch, places, size) -> v, with the numbers of the whole picture."""
        v = self.whole(a, sight)
        if self.overall is None:
            return v
        return v + self.overall(torch.cat([self.numbers(sight), 4 * self.spread(sight)], dim=1))

    def step(self, last: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, state = self.lstm(self.embed(last)[:, None], state)
        return self.out(output[:, 0]).log_softmax(dim=-1), state


class Model(Captioner):
    """Captions what its encoder knows (config.json says what); of other pictures it says something untrue."""

    name, teller = "cnn-lstm", ShowAndTell
