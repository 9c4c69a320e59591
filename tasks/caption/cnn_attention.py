"""Caption by an LSTM that looks at one part of the picture for each word.

Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel, Bengio, 'Show, Attend and Tell' (2015), section 3 with the
deterministic soft attention of 4.2, whose letters we keep:

    e_ti = f_att(a_i, h_{t-1})      how much place i matters for word t (f_att: one hidden layer, tanh)
    alpha_t = softmax(e_t)          the attention map (batch, places)
    z_t = beta_t sum_i alpha_ti a_i    what is looked at, behind the gate beta_t (4.2.1)
    h_t = LSTM([E y_{t-1}, z_t], h_{t-1})
    p(y_t) = softmax(L_o (L_y E y_{t-1} + L_h h_t + L_z z_t))                 (equation 7)

Departures: L_o is E, and E y_{t-1} has an L_y, so that a word does not call for itself; h_0 and c_0 come of v of
teller.py (of scenes, with how many things there are and how alike), not of the mean of all a_i: no counts are lost;
a_i has its place added as sines and cosines, as these features see too little around them to know it, and of scenes
how many things are like it, as the LSTM, which sees one place at a time, would have to remember all to count; no doubly
stochastic penalty (every place need not be looked at: most of a scene is empty); no Theano, no VGG: encoder.py.
"""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from tasks.caption.captioner import Captioner
from tasks.caption.encoder import Sight
from tasks.caption.maps import strip
from tasks.caption.teller import WAVES, Teller, waves


class AttendAndTell(Teller):
    """State: h, c (1, batch, size), a (1, batch, places, size) and a as f_att sees it (1, batch, places, attention)."""

    def __init__(self, vocabulary: int, features: int, size: int, named: bool, dropout: float, attention: int) -> None:
        super().__init__(vocabulary, features, size, named, dropout)
        self.place = nn.Linear(4 * WAVES, size)
        self.of_a, self.of_h = nn.Linear(size, attention), nn.Linear(size, attention, bias=False)
        self.e = nn.Linear(attention, 1, bias=False)
        self.init_h, self.init_c, self.beta = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, 1)
        self.lstm = nn.LSTMCell(2 * size, size)
        self.overall = nn.Linear(2, size) if named else None
        self.many = nn.Linear(1, size) if named else None
        self.L_y, self.L_h, self.L_z = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, sight: Sight, tokens: Tensor) -> Tensor:
        return self.attend(sight, tokens)[0]

    def attend(self, sight: Sight, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing -> logits (batch, length, vocabulary) and all alpha (batch, length, places)."""
        state, told = self.begin(sight), []
        for word in self.embed(tokens).unbind(dim=1):
            logits, alpha, state = self._word(word, state)
            told.append((logits, alpha))
        return torch.stack([logits for logits, _ in told], dim=1), torch.stack([alpha for _, alpha in told], dim=1)

    def begin(self, sight: Sight) -> tuple[Tensor, ...]:
        a = self.annotate(sight)
        v = self.whole(a, sight) + (0 if self.overall is None else self.overall(self.numbers(sight)))
        a = a + self.place(waves(sight)) + (0 if self.many is None else self.many(self.alike(sight)))
        return tuple(part[None] for part in (self.init_h(v).tanh(), self.init_c(v).tanh(), a, self.of_a(a)))

    def step(self, last: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        logits, _, state = self._word(self.embed(last), state)
        return logits.log_softmax(dim=-1), state

    def _word(self, word: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """E y_{t-1} (batch, size) -> logits of y_t, alpha_t, and the state after it."""
        h, c, a, keys = (part[0] for part in state)
        alpha = self.e((keys + self.of_h(h)[:, None]).tanh())[..., 0].softmax(dim=-1)
        z = self.beta(h).sigmoid() * (alpha[:, None] @ a)[:, 0]
        h, c = self.lstm(torch.cat([word, z], dim=1), (h, c))
        logits = self.out((self.L_y(word) + self.L_h(self.dropout(h)) + self.L_z(z)) / self.scale)
        return logits, alpha, (h[None], c[None], *state[2:])


class Model(Captioner):
    """As the others; attention.png shows where it looked for each word of its best caption."""

    name, teller = "cnn-attention", AttendAndTell

    @torch.inference_mode()
    def draw(self, picture: Image.Image, sight: Sight, tokens: tuple[int, ...], folder: Path) -> list[Path]:
        said = torch.tensor([[self.vocabulary.start, *tokens[:-1]]], device=sight.x.device)
        teller = self.network.teller
        assert isinstance(teller, AttendAndTell)
        alphas = teller.attend(sight, said)[1][0]
        maps = alphas.new_zeros(len(tokens), math.prod(sight.grid)).index_add(1, sight.places[0], alphas)
        strip(
            picture, maps.unflatten(1, sight.grid).cpu().numpy(), [self.vocabulary.tokens[token] for token in tokens]
        ).save(folder / "attention.png")
        return [folder / "attention.png"]
