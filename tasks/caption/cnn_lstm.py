"""Caption by a convolutional encoder and an LSTM that tells what it encodes.

Vinyals, Toshev, Bengio, Erhan, 'Show and Tell: A Neural Image Caption Generator' (2015), section 3,
whose letters we keep: x_-1 = CNN(I) is shown to the LSTM once, before the first word; then
x_t = W_e S_t and p_{t+1} = LSTM(x_t); the caption is found by beam search. Departures:

    - the CNN is a small residual network (He et al. 2015) trained here from nothing, not an Inception
      network trained on ImageNet;
    - its last layer is a map: for each place of a coarse grid, how likely the middle of each thing lies
      there (words are detected first, as in Fang et al. 2015). The picture vector is made of the map's
      sums and first moments: how many of which thing, and where. The map is taught directly (train.py);
    - a thing in the picture and its word share one vector, which is W_e and the output layer too (Press
      and Wolf 2017), so that naming what is seen need not be learned for each thing anew;
    - a token is a thing, a number or a relation; articles and plurals are set by rule (vocabulary.py).

    I  (batch, 3, side, side)         float32   pictures, by normalise() of image.py
    M  (batch, things + 1, rows, columns)       the map, logits; the last channel is 'nothing'
    v  (batch, size)                  float32   x_-1, the picture as the LSTM sees it
    S  (batch, length)                int64     token numbers; things are the last of the vocabulary
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.algorithm import Algorithm, Call, Result
from tasks.caption import beam
from tasks.caption.image import normalise, open_picture, to_square
from tasks.caption.vocabulary import MAX_TOKENS, Vocabulary, sentence
from tasks.errors import BacklotError, Canceled, ModelFailed


class Model(Algorithm):
    """Captions scenes of the things it knows (config.json names them); of other pictures it says something untrue."""

    def __init__(self, network: "Captioner", vocabulary: Vocabulary, side: int, device: str) -> None:
        self.network, self.vocabulary, self.side, self.device = network, vocabulary, side, device

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Model":
        """`weights`: a folder with config.json and model.safetensors; errors: ModelFailed where there is none."""
        if weights is None or not (weights / "model.safetensors").exists():
            raise ModelFailed("cnn-lstm needs a folder with config.json and model.safetensors; models.toml names it")
        config = json.loads((weights / "config.json").read_text())
        vocabulary = Vocabulary(config["things"])
        network = Captioner(len(vocabulary), len(vocabulary.things), config["widths"], config["size"])
        network.load_state_dict({name: value.float() if value.is_floating_point() else value
                                 for name, value in load_file(weights / "model.safetensors").items()})
        return cls(network.to(device, memory_format=torch.channels_last).eval(), vocabulary, config["side"], device)

    def run(self, calls: Sequence[Call]) -> list[Result | BacklotError]:
        """One pass of the encoder for all calls, then each call's own beam search."""
        answers: list = [self._opened(call) for call in calls]
        good = [n for n, answer in enumerate(answers) if isinstance(answer, Image.Image)]
        seen = self.encode([answers[n] for n in good]) if good else []
        for n, v in zip(good, seen, strict=True):
            answers[n] = self._told(calls[n], v)
        return answers

    def _opened(self, call: Call) -> Image.Image | BacklotError:
        """The picture at the size the encoder takes, or what is wrong with it."""
        try:
            _unless_canceled(call)
            call.report(0.0, "opening the picture")
            return to_square(open_picture(call.inputs["image"]), self.side)
        except BacklotError as error:
            return error

    def _told(self, call: Call, v: Tensor) -> Result | BacklotError:
        """The result of a call whose picture is encoded as v (size,)."""
        try:
            call.report(0.5, "putting it into words")
            found = self.tell(v, call)
        except BacklotError as error:
            return error
        captions = [{"caption": sentence(self.vocabulary.decode(one.tokens)), "logprob": min(one.logprob, 0.0)}
                    for one in found[:1 + call.params.alternatives]]
        value = {"caption": captions[0]["caption"], "alternatives": captions}
        file = call.workdir / "caption.json"
        file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        call.report(1.0, "told")
        return Result(value, (file,))

    @torch.inference_mode()
    def encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of side x side pixels -> v."""
        return self.network.show(self.network.encoder(normalise(pictures).to(self.device)))

    @torch.inference_mode()
    def tell(self, v: Tensor, call: Call) -> list[beam.Sentence]:
        """The likeliest captions of one encoded picture, best first; errors: Canceled."""
        def step(last: Tensor, state: beam.State) -> tuple[Tensor, beam.State]:
            _unless_canceled(call)
            scores, state = self.network.step(last.to(self.device), state)
            scores[:, self.vocabulary.start] = -torch.inf
            if last[0] == self.vocabulary.start:  # the first step: a caption has a word at least
                scores[:, self.vocabulary.end] = -torch.inf
            return scores, state

        return beam.search(step, self.network.begin(v[None]), self.vocabulary.start, self.vocabulary.end,
                           call.params.beams, MAX_TOKENS)


def _unless_canceled(call: Call) -> None:
    if call.canceled():
        raise Canceled("the job was canceled before its picture was told")


class Residual(nn.Module):
    """Two 3x3 convolutions and a way around them; halves height and width where stride is 2."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.around = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.around(x))


class Encoder(nn.Module):
    """I -> M."""

    def __init__(self, widths: list[int], things: int) -> None:
        super().__init__()
        stem, *stages = widths
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.stages = nn.Sequential(*(Residual(before, after, stride=2)
                                      for before, after in zip(widths, stages, strict=False)))
        self.what = nn.Conv2d(widths[-1], things + 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.what(self.stages(self.stem(pictures.contiguous(memory_format=torch.channels_last))))


def moments(M: Tensor) -> tuple[Tensor, Tensor]:
    """M -> of each thing number, sum of x, sum of y (batch, 3, things); of all things number and spread (batch, 3).

    x and y go from -1 to 1 over the picture; spread is the variance of x and of y.
    """
    likely = M.softmax(dim=1)[:, :-1]
    x, y = axes(M)
    each = torch.stack([likely.sum(dim=(2, 3)), (likely * x).sum(dim=(2, 3)), (likely * y).sum(dim=(2, 3))], dim=1)
    number, mean_x, mean_y = each.sum(dim=2).unbind(dim=1)
    anything = likely.sum(dim=1)
    spread = [(anything * axis ** 2).sum(dim=(1, 2)) / (number + 0.1) - (mean / (number + 0.1)) ** 2
              for axis, mean in ((x, mean_x), (y, mean_y))]
    return each, torch.stack([number, *spread], dim=1)


def axes(M: Tensor) -> tuple[Tensor, Tensor]:
    """x (columns,) and y (rows, 1) of the middles of the places of a map."""
    rows, columns = M.shape[2:]
    x = (torch.arange(columns, device=M.device) + 0.5) / columns * 2 - 1
    y = (torch.arange(rows, device=M.device) + 0.5) / rows * 2 - 1
    return x, y[:, None]


class Captioner(nn.Module):
    """I -> M -> v -> log p(S_0), log p(S_1 | S_0), ..."""

    def __init__(self, vocabulary: int, things: int, widths: list[int], size: int) -> None:
        super().__init__()
        self.things, self.scale = things, size ** 0.5
        self.encoder = Encoder(widths, things)
        self.words = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.words.weight, std=1 / self.scale)
        self.across, self.down = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.overall = nn.Linear(3, size)
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: S, <start> first -> logits of the next token (batch, length, vocabulary), and M."""
        seen = self.encoder(pictures)
        states, _ = self.lstm(torch.cat([self.show(seen)[:, None], self.embed(tokens)], dim=1))
        return self.out(states[:, 1:]), seen

    def show(self, M: Tensor) -> Tensor:
        """M -> v: the vectors of the things, added up, as they are, turned by their x and turned by their y."""
        each, all_things = moments(M)
        number, x, y = (each @ self.words.weight[-self.things:] * self.scale).unbind(dim=1)
        return number + self.across(x) + self.down(y) + self.overall(all_things)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.words(tokens) * self.scale

    def out(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.words.weight * self.scale, self.bias)

    def begin(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's state (1, batch, size) twice, after v (batch, size) was shown to it."""
        return self.lstm(seen[:, None])[1]

    def step(self, last: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The last token of each row (batch,) -> log-probabilities of the next (batch, vocabulary), and the state."""
        output, state = self.lstm(self.embed(last)[:, None], state)
        return self.out(output[:, 0]).log_softmax(dim=-1), state
