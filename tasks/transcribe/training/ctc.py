"""How `rnn` and `dnn` are trained on AN4: `python -m worker.train transcribe/rnn`, `... transcribe/dnn`.

Graves et al. (2006): the sum over all ways to spread the signs over the steps is made likely. Each step hears some 40
seconds of recordings of like lengths, at another speed, in noise and with stripes masked (augment.py); the rate goes
up, stays, and falls in a line. AdamW (Loshchilov, Hutter, 2019).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tasks.recipe import DataMissing, Recipe
from tasks.transcribe import alphabet
from tasks.transcribe.features import FRAMES_PER_S, log_mel
from tasks.transcribe.networks import NETWORKS, read, steps
from tasks.transcribe.search import Emission, best_path
from tasks.transcribe.training import augment, corpora
from tasks.transcribe.training.corpora import Utterance
from tasks.transcribe.training.export import Trained, export
from tasks.transcribe.training.wer import word_error_rate

BATCH_S = 40.0  # seconds of sound a step
WARM_UP, FALL, CLIP, DECAY = 100, 0.4, 5.0, 0.01  # warm-up in steps; the last FALL of all steps, the rate falls
TEACHER = Path(__file__).parent.parent / "weights" / "rnn"  # the weights that ship; `dnn` learns from them
LESSON = 3.0  # weight of what the teacher says beside CTC


class CtcRecipe(Recipe):
    """What the two have in common; a subclass names its network, its size and its rate."""

    metric = "word_errors"
    name: str
    peak_rate: float
    size: dict

    def __init__(self, data: Path, device: str) -> None:
        self.data, self.device = data, device
        self.train, self.validation = corpora.an4(data, "train"), corpora.an4(data, "validation")
        self.noises = list(corpora.noises(data, training=True).values())
        self.sounds = [corpora.sound(utterance.path) for utterance in self.train]
        self.faster: dict[tuple[int, int], np.ndarray] = {}  # what was resampled, by number and tenths
        self.heard = [log_mel(corpora.sound(utterance.path)) for utterance in self.validation]
        torch.manual_seed(0)
        self.network = NETWORKS[self.name](**self.size).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), self.peak_rate, weight_decay=DECAY, fused=True)
        self.batches = batches([len(sound) for sound in self.sounds])

    def step(self, number: int) -> float:
        random = np.random.default_rng([1, number])
        epoch, place = divmod(number, len(self.batches))
        order = np.random.default_rng([0, epoch]).permutation(len(self.batches))
        chosen = self.batches[order[place]]
        pairs = [self._frames(int(one), random) for one in chosen]
        for group in self.optimiser.param_groups:
            group["lr"] = self.peak_rate * schedule(number, self.steps)
        torch.manual_seed(number)  # dropout draws what this step always draws
        self.network.train()
        plain, masked = [one for one, _ in pairs], [other for _, other in pairs]
        loss = self._loss(plain, masked, [self.train[one] for one in chosen])
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        return loss.item()

    def _loss(self, plain: list[Tensor], masked: list[Tensor], said: list[Utterance]) -> Tensor:
        """Of recordings without stripes and with them."""
        lengths, emission = heard(self.network, masked, self.device)
        return ctc_loss(emission, lengths, said)

    def _frames(self, number: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """An utterance at this step's speed and in its noise; and the same with stripes."""
        tenths = augment.SPEEDS[int(random.integers(len(augment.SPEEDS)))]
        if (number, tenths) not in self.faster:
            self.faster[number, tenths] = augment.at_speed(self.sounds[number], tenths)
        sound = augment.noisy(self.faster[number, tenths], self.noises, random)
        frames = log_mel(sound)
        return frames, augment.masked(frames, random)

    def evaluate(self) -> dict[str, float]:
        """Greedy, on the validation speakers."""
        heard = (alphabet.decode(best_path(emission)) for emission in self.emissions_of_validation())
        return {"word_errors": word_error_rate(zip((u.text for u in self.validation), heard, strict=True))}

    def emissions_of_validation(self) -> list[Emission]:
        return emissions(self.network, self.heard, self.device)

    def state(self) -> dict:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder: Path, history: list[dict]) -> None:
        trained = Trained(
            name=self.name,
            size=self.size,
            network=self.network,
            device=self.device,
            data=self.data,
            train=self.train,
            validation=self.validation,
            emissions=self.emissions_of_validation,
        )
        export(trained, folder, history)


class Rnn(CtcRecipe):
    """Three bidirectional layers of 192."""

    name, steps, every, peak_rate = "rnn", 3600, 150, 1.5e-3
    size = {"width": 192, "hidden": 192, "layers": 3, "dropout": 0.25}


class Dnn(CtcRecipe):
    """Six layers of 288 that splice; half a second to each side.

    By CTC alone it stays for long where a space stands for every sound. So it also learns, step by step, what the
    trained `rnn` says of the same sound (Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015).
    """

    name, steps, every, peak_rate = "dnn", 1800, 150, 1e-3
    size = {"width": 288, "reach": (1, 2, 3, 4, 5), "dropout": 0.1}

    def __init__(self, data: Path, device: str) -> None:
        """Errors: DataMissing, also where no `rnn` has been trained."""
        super().__init__(data, device)
        if not (TEACHER / "model.safetensors").is_file():
            raise DataMissing("dnn learns from the trained rnn: run `python -m worker.train transcribe/rnn` first")
        self.teacher = read(TEACHER, "rnn").to(device).eval()

    def _loss(self, plain: list[Tensor], masked: list[Tensor], said: list[Utterance]) -> Tensor:
        """CTC's, and LESSON times the mean over steps of the divergence from what the teacher says."""
        lengths, emission = heard(self.network, masked, self.device)
        with torch.no_grad():
            _, wanted = heard(self.teacher, plain, self.device)
        inside = torch.arange(emission.shape[1])[None, :] < steps(lengths)[:, None]
        apart = nn.functional.kl_div(emission, wanted, reduction="none", log_target=True).sum(dim=-1)
        return ctc_loss(emission, lengths, said) + LESSON * apart[inside.to(apart.device)].mean()


def batches(lengths: list[int]) -> list[np.ndarray]:
    """Numbers of recordings (lengths in samples) by like lengths, each batch at most BATCH_S with its padding."""
    made, rest = [], list(np.argsort(lengths, kind="stable"))
    while rest:
        longest = lengths[rest[-1]] / FRAMES_PER_S / 160
        count = max(1, int(BATCH_S / longest))
        made.append(np.array(rest[-count:]))
        del rest[-count:]
    return made


def heard(network: nn.Module, frames: list[Tensor], device: str) -> tuple[Tensor, Tensor]:
    """Lengths in frames, (batch,), and what a network says of each step, (batch, steps, signs)."""
    lengths = torch.tensor([len(one) for one in frames])
    return lengths, network(pad_sequence(frames, batch_first=True).to(device), lengths)


def ctc_loss(emission: Tensor, lengths: Tensor, said: list[Utterance]) -> Tensor:
    """Mean over the batch of -ln p(text | sound) a sign."""
    signs = [torch.tensor(alphabet.encode(utterance.text)) for utterance in said]
    return nn.functional.ctc_loss(
        emission.transpose(0, 1),
        torch.cat(signs),
        steps(lengths),
        torch.tensor([len(one) for one in signs]),
        alphabet.BLANK,
        zero_infinity=True,
    )


@torch.no_grad()
def emissions(network: nn.Module, frames: list[Tensor], device: str, at_once: int = 16) -> list[Emission]:
    """ln p of each sign, (steps, signs) float32 a recording, in order."""
    network.eval()
    order = sorted(range(len(frames)), key=lambda one: len(frames[one]))
    made: dict[int, Emission] = {}
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        lengths = torch.tensor([len(frames[one]) for one in chosen])
        batch = pad_sequence([frames[one] for one in chosen], batch_first=True).to(device)
        for one, emission, count in zip(chosen, network(batch, lengths).cpu(), steps(lengths), strict=True):
            made[one] = emission[:count].numpy()
    return [made[one] for one in range(len(frames))]


def schedule(number: int, steps: int) -> float:
    """The rate's share of its peak: up, level (so `steps` may be changed meanwhile), down to a hundredth."""
    return min(1.0, (number + 1) / WARM_UP, max(0.01, (steps - number) / (FALL * steps)))
