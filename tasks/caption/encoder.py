"""The eyes of the captioners: from a picture to what is seen where.

Two are there. `SceneEncoder` is trained here, on scenes: it says how likely the middle of each thing lies at each
place of a grid (words are detected first, as in Fang et al. 2015, 'From Captions to Visual Concepts and Back',
section 3, but with a map that is taught directly), and hands on the peaks of that map: one a thing, so that what
follows can count. `SqueezeNetEncoder` is a network trained on ImageNet, frozen, and hands on all places. Knows
nothing of captions.

    I  (batch, 3, side, side)                       float32   pictures, by normalise() of image.py
    M  (batch, things + 1, rows, columns)                     logits; the last channel is 'nothing'
    L  (batch, things, rows, columns)    float32   the share of each thing's middle that lies at a place
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.caption.image import CENTRE, SPREAD

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RARE = 6.0  # log odds of a place being empty, at the start
MOST = 8  # peaks of one picture; more are passed over
PRESENT = 0.3  # likelihood, of all things together, that a peak has at least


@dataclass(frozen=True)
class Sight:
    """What is seen of a batch of pictures.

    features  (batch, places, features) float32   zeros where a picture has fewer peaks than others
    x, y      (batch, places)           float32   from -1 to 1 over the picture
    places    (batch, places)           int64     numbers in the grid, row by row
    grid      rows, columns
    summary   (batch, 2 * channels)    float32   mean and standard deviation of the last stage over all places, or None
    """

    features: Tensor
    x: Tensor
    y: Tensor
    places: Tensor
    grid: tuple[int, int]
    summary: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice | list[int]) -> "Sight":
        """Some of the pictures."""
        summary = None if self.summary is None else self.summary[rows]
        return Sight(self.features[rows], self.x[rows], self.y[rows], self.places[rows], self.grid, summary)

    def to(self, device: str) -> "Sight":
        features, x, y, places = (part.to(device) for part in (self.features, self.x, self.y, self.places))
        return Sight(features, x, y, places, self.grid, None if self.summary is None else self.summary.to(device))


class SceneEncoder(nn.Module):
    """I -> M -> L -> its peaks. A place is 8 x 8 pixels; it sees 79 x 79 around it.

    Residual blocks of He et al. 2015; stem and all stages but the last halve the sides.
    """

    def __init__(self, widths: Sequence[int], things: int) -> None:
        super().__init__()
        self.features = things
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 2, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        last = len(widths) - 2
        self.stages = nn.Sequential(
            *(
                Residual(before, after, stride=1 if n == last else 2)
                for n, (before, after) in enumerate(zip(widths, widths[1:], strict=False))
            )
        )
        self.what = nn.Conv2d(widths[-1], things + 1, 1)
        assert self.what.bias is not None
        nn.init.constant_(self.what.bias[-1:], RARE)

    def map(self, pictures: Tensor) -> Tensor:
        """I -> M."""
        return self.what(self.staged(pictures))

    def staged(self, pictures: Tensor) -> Tensor:
        """I -> the last stage (batch, channels, rows, columns)."""
        return self.stages(self.stem(pictures.contiguous(memory_format=torch.channels_last)))

    def forward(self, pictures: Tensor) -> Sight:
        F = self.staged(pictures)
        summary = torch.cat([F.mean(dim=(2, 3)), F.std(dim=(2, 3))], dim=1)
        return replace(peaks(likelihood(self.what(F))), summary=summary)


class Residual(nn.Module):
    """Two 3x3 convolutions and a way around them; halves height and width where stride is 2.

    Torchvision's BasicBlock, with the names of its tensors; importing torchvision takes as long as torch itself.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        around = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = around  # made first, as training's seeds expect

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)), inplace=True)))
        inner += self.downsample(x)
        return functional.relu(inner, inplace=True)


class SqueezeNetEncoder(nn.Module):
    """Iandola et al. 2016, version 1.0: the last features before its classifier, 7 x 7 means of them."""

    features = 512
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_0  # takes as long to import as torch itself

        self.layers, self.pool = squeezenet1_0(weights=None).features, nn.AdaptiveAvgPool2d(7)
        mean, std = (torch.tensor(part)[:, None, None] for part in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, pictures: Tensor) -> Sight:
        return everywhere(self.map(pictures))

    def map(self, pictures: Tensor) -> Tensor:
        """I -> (batch, 512, 7, 7)."""
        return self.pool(self.layers(((pictures * SPREAD + CENTRE) / 255 - self.mean) / self.std))


def channels_last(network: nn.Module) -> None:
    """Lays the weights out as convolutions on a CPU read them, in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it


def likelihood(M: Tensor) -> Tensor:
    """M -> L."""
    return M.softmax(dim=1)[:, :-1]


def peaks(L: Tensor) -> Sight:
    """The places around which most lies, at most MOST: what lies within one place of them, and its mean place.

    A thing's middle is shared by four places at most, and two things lie three places apart (scenes.py), so the
    nine places around a peak hold one thing: its likelihoods are made to sum to one.
    """
    anything = L.sum(dim=1, keepdim=True)
    around = _around(anything)
    height = around + anything
    highest = (height == functional.max_pool2d(height, 3, 1, padding=1)) & (around >= PRESENT)
    found, places = (height * highest).flatten(1).topk(min(MOST, height[0].numel()))
    rows, columns = L.shape[2:]
    x, y = axes(rows, columns, L.device)
    weighed = torch.stack([x, y]).unflatten(1, (rows, columns)) * anything
    whole, where = (_at(part, places) for part in (around, _around(weighed)))
    there = (found > 0)[..., None]
    features = there * _at(_around(L), places) / whole.clamp(min=1e-6)
    x, y = (there * where / whole.clamp(min=1e-6)).unbind(dim=2)
    return Sight(features, x, y, places, (rows, columns))


def everywhere(F: Tensor) -> Sight:
    """Features (batch, features, rows, columns) of all places."""
    rows, columns = F.shape[2:]
    x, y = (axis.expand(len(F), -1) for axis in axes(rows, columns, F.device))
    places = torch.arange(x.shape[1], device=F.device).expand(len(F), -1)
    return Sight(F.flatten(2).transpose(1, 2), x, y, places, (rows, columns))


def _around(values: Tensor) -> Tensor:
    """The sum over a place and its eight neighbours."""
    return functional.avg_pool2d(values, 3, 1, padding=1) * 9


def _at(values: Tensor, places: Tensor) -> Tensor:
    """(batch, channels, rows, columns) at places (batch, n) -> (batch, n, channels)."""
    return values.flatten(2).gather(2, places[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)


def axes(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y of the middles of all places, row by row (rows * columns,), from -1 to 1 over the picture."""
    x = (torch.arange(columns, device=device) + 0.5) / columns * 2 - 1
    y = (torch.arange(rows, device=device) + 0.5) / rows * 2 - 1
    return x.repeat(rows), y.repeat_interleave(columns)
