"""How a decoder is taught captions, whatever its features are of: targets, loss, and what it says after a lesson.

Knows nothing of data sets or of checkpoints.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption.encoder import Sight
from tasks.caption.teller import Teller
from tasks.caption.training.schedule import one_cycle
from tasks.caption.vocabulary import Words

IGNORED = -100  # padding behind <end>: not part of the loss
CLIP = 5.0  # largest norm of a gradient


class Lessons:
    """A decoder and its optimiser (AdamW, one cycle of the learning rate over `steps`)."""

    def __init__(
        self, teller: Teller, words: Words, steps: int, peak_rate: float, weight_decay: float, smoothing: float = 0.0
    ) -> None:
        self.teller, self.words, self.steps = teller, words, steps
        self.peak_rate, self.smoothing = peak_rate, smoothing
        self.optimiser = torch.optim.AdamW(teller.parameters(), lr=peak_rate, weight_decay=weight_decay)

    def step(self, number: int, sight: Sight, captions: Sequence[Sequence[str]]) -> float:
        """One optimiser step; returns the loss before it."""
        return self.learn(number, sight, self.targets(captions))

    def learn(self, number: int, sight: Sight, targets: Tensor) -> float:
        """The same, of token numbers (batch, longest), padded with IGNORED."""
        self.teller.train()
        loss = self.loss(sight, targets.to(sight.x.device))
        self.optimiser.param_groups[0]["lr"] = self.peak_rate * one_cycle(number, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.teller.parameters(), CLIP)
        self.optimiser.step()
        return loss.item()

    def loss(self, sight: Sight, tokens: Tensor) -> Tensor:
        """Mean negative log-likelihood of a token, in nats (with smoothing, of smoothed targets)."""
        said = torch.cat([torch.full_like(tokens[:, :1], self.words.start), tokens[:, :-1].clamp(min=0)], dim=1)
        logits = self.teller(sight, said)
        return functional.cross_entropy(
            logits.flatten(0, 1), tokens.flatten(), ignore_index=IGNORED, label_smoothing=self.smoothing
        )

    def targets(self, captions: Sequence[Sequence[str]]) -> Tensor:
        """Token numbers (batch, longest), <end> last, then IGNORED."""
        rows = [self.words.encode(caption) for caption in captions]
        longest = max(map(len, rows))
        return torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows])

    @torch.no_grad()
    def greedy(self, sight: Sight) -> list[list[str]]:
        """The tokens of each picture's caption, the likeliest word at each step."""
        self.teller.eval()
        state, columns = self.teller.begin(sight), []
        last = torch.full((len(sight),), self.words.start, device=sight.x.device)
        for _ in range(self.words.longest):
            scores, state = self.teller.step(last, state)
            last = scores.argmax(dim=-1)
            columns.append(last)
        return [self.words.decode(row) for row in torch.stack(columns, dim=1).tolist()]

    def state(self) -> dict:
        return {"network": self.teller.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict) -> None:
        self.teller.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
