"""The networks behind `rnn` and `dnn`: frames of sound in, the log-probability of each sign out, 33 times a second.

Knows shapes and weights, the same in training and in use; not where frames come from or what becomes of the signs.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tasks.folder import CONFIG, TENSORS, read_json, unusable
from tasks.transcribe.alphabet import SIGNS
from tasks.transcribe.features import MELS

SUBSAMPLE = 3  # frames a step: 30 ms, short enough for ten letters in a third of a second


def steps(frames: Tensor) -> Tensor:
    """How many steps come of that many frames."""
    return (frames + SUBSAMPLE - 1) // SUBSAMPLE


class Rnn(nn.Module):
    """Graves, Fernandez, Gomez, Schmidhuber (2006): a recurrent network in both directions, under CTC.

    Gated recurrent units (Cho et al., 2014) in place of LSTM: the same errors in less time; below them, one
    convolution (Amodei et al., "Deep Speech 2", 2016, section 3.3), which also takes three frames to a step.
    """

    def __init__(self, width: int = 192, hidden: int = 192, layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.splice = nn.Conv1d(MELS, width, 11, SUBSAMPLE, padding=5)
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * hidden, len(SIGNS))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, MELS), (batch,) to (batch, steps, signs). In use, what stands past a length is not heard;
        in training it is, as silence: a quarter less time, and batches are of like lengths."""
        heard = self.norm(self.splice(frames.transpose(1, 2)).transpose(1, 2))
        heard = self.dropout(torch.relu(heard))  # (batch, steps, width)
        if self.training:
            known, _ = self.gru(heard)
        else:
            packed = pack_padded_sequence(heard, steps(lengths).cpu(), batch_first=True, enforce_sorted=False)
            known, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=heard.shape[1])
        return self.out(self.dropout(known)).log_softmax(dim=-1)


class Dnn(nn.Module):
    """Feed-forward over spliced frames, under CTC: no step knows another but through its window.

    The first layer sees 21 frames; the layers above splice again what lies 1, 2, 4, ... steps beside, so that
    the last one has seen over a second (Waibel et al., "Phoneme recognition using time-delay neural networks",
    1989; Peddinti, Povey, Khudanpur, 2015). Departures: ReLU with layer normalisation, and residual sums.
    """

    def __init__(self, width: int = 288, reach: tuple[int, ...] = (1, 2, 3, 4, 5), dropout: float = 0.0) -> None:
        super().__init__()
        self.splice = nn.Conv1d(MELS, width, 21, SUBSAMPLE, padding=10)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=beside, dilation=beside) for beside in reach)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in reach)
        self.last = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, len(SIGNS))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, MELS), (batch,) to (batch, steps, signs). What stands past a length is zero in every layer,
        as what lies before the beginning is: a recording comes out alike alone and in a batch."""
        inside = (
            torch.arange(int(steps(torch.tensor(frames.shape[1]))), device=frames.device)[None, :]
            < steps(lengths.to(frames.device))[:, None]
        )[..., None]  # (batch, steps, 1)
        heard = torch.relu(self.norm(self.splice(frames.transpose(1, 2)).transpose(1, 2))) * inside
        for layer, norm in zip(self.layers, self.norms, strict=True):
            spliced = norm(layer(heard.transpose(1, 2)).transpose(1, 2))
            heard = (heard + self.dropout(torch.relu(spliced))) * inside
        return self.out(self.dropout(self.last(heard))).log_softmax(dim=-1)


NETWORKS: dict[str, type[nn.Module]] = {"rnn": Rnn, "dnn": Dnn}


def read(folder: Path, name: str) -> nn.Module:
    """The network of a folder of weights, on the CPU; errors: ModelFailed, where it is another one's."""
    config = read_json(folder / CONFIG)
    if config["network"] != name:
        raise unusable(
            f"they are of the network {config['network']!r}, not of {name!r}",
            "correct `weights` or `algorithm` in models.toml",
        )
    network = NETWORKS[name](**config["size"])
    network.load_state_dict({key: value.float() for key, value in load_file(folder / TENSORS).items()})
    return network
