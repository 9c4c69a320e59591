"""Caption by a convolutional encoder and an LSTM that tells what it encodes.

Vinyals, Toshev, Bengio, Erhan, 'Show and Tell: A Neural Image Caption Generator' (2015), section 3,
whose letters we keep: x_-1 = CNN(I) is shown to the LSTM once, before the first word; then
x_t = W_e S_t and p_{t+1} = LSTM(x_t); the caption is found by beam search. Departures:

    - the CNN is a small residual network (He et al. 2015) trained here from nothing, not an Inception
      network trained on ImageNet;
    - its last map is not only averaged: to each channel's mean come its maximum and its first moments
      over x and y (after the spatial softmax of Levine et al. 2016), so that 'left of' can be told;
    - a token is a thing, a number or a relation; articles and plurals are set by rule (vocabulary.py);
    - in training, a linear head must read what is where off x_-1 (see train.py); it is not shipped.

    I  (batch, 3, side, side)  float32   pictures, by normalise() of image.py
    v  (batch, size)           float32   x_-1, the picture as the LSTM sees it
    S  (batch, length)         int64     token numbers
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
        network = Captioner(len(vocabulary), config["widths"], config["size"])
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
        return self.network.encoder(normalise(pictures).to(self.device))

    @torch.inference_mode()
    def tell(self, v: Tensor, call: Call) -> list[beam.Sentence]:
        """The likeliest captions of one encoded picture, best first; errors: Canceled."""
        def step(last: Tensor, state: beam.State) -> tuple[Tensor, beam.State]:
            _unless_canceled(call)
            return self.network.step(last.to(self.device), state)

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
    """I -> v."""

    def __init__(self, widths: list[int], size: int) -> None:
        super().__init__()
        stem, *stages = widths
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.stages = nn.Sequential(*(Residual(before, after, stride=2)
                                      for before, after in zip(widths, stages, strict=False)))
        self.project = nn.Linear(4 * widths[-1], size)

    def forward(self, pictures: Tensor) -> Tensor:
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return self.project(pool(self.stages(self.stem(pictures))))


def pool(maps: Tensor) -> Tensor:
    """(batch, c, h, w) -> (batch, 4c): mean, maximum and first moments over x and y, both from -1 to 1."""
    height, width = maps.shape[2:]
    y = torch.linspace(-1, 1, height, device=maps.device)[:, None]
    x = torch.linspace(-1, 1, width, device=maps.device)
    moments = [(maps * weight).mean(dim=(2, 3)) for weight in (x, y)]
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), *moments], dim=1)


class Captioner(nn.Module):
    """I -> v -> log p(S_0), log p(S_1 | S_0), ..."""

    def __init__(self, vocabulary: int, widths: list[int], size: int) -> None:
        super().__init__()
        self.encoder = Encoder(widths, size)
        self.words = nn.Embedding(vocabulary, size)
        self.lstm = nn.LSTM(size, size, batch_first=True)
        self.out = nn.Linear(size, vocabulary)

    def forward(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing: S, <start> first -> logits of the next token (batch, length, vocabulary), and v."""
        seen = self.encoder(pictures)
        states, _ = self.lstm(torch.cat([seen[:, None], self.words(tokens)], dim=1))
        return self.out(states[:, 1:]), seen

    def begin(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's state (1, batch, size) twice, after v (batch, size) was shown to it."""
        return self.lstm(seen[:, None])[1]

    def step(self, last: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The last token of each row (batch,) -> log-probabilities of the next (batch, vocabulary), and the state."""
        output, state = self.lstm(self.words(last)[:, None], state)
        return self.out(output[:, 0]).log_softmax(dim=-1), state
