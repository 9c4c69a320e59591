"""EfficientNet-Lite0: a network that sorts photographs into 1,000 classes. Knows neither the classes' names nor files.

Tan, Le, 'EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks' (2019), section 4, in the 'lite'
form of its authors (tensorflow/tpu): no squeeze-and-excitation, ReLU6 in place of swish. Names of parameters are those
of the weights that ship.

    I  (batch, 3, side, side)        float32   pictures, by tensor_of()
    f  (batch, 1280, rows, columns)            features, after the last activation; 7 x 7 places of 224 x 224 pixels
    S  (batch, 1000)                           scores: the mean of f over its places, through one full layer
    d  (batch,)                                how far the picture's maps are from those of training
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (
    (1, 16, 1, 3, 1),
    (2, 24, 2, 3, 6),
    (2, 40, 2, 5, 6),
    (3, 80, 2, 3, 6),
    (3, 112, 1, 5, 6),
    (4, 192, 2, 5, 6),
    (1, 320, 1, 3, 6),
)
"""Blocks, width, stride of the first block, side of the kernel, expansion: the paper's table 1."""
CENTRE, SPREAD = 127, 128
"""Grey values that become 0 and 1."""
LEAST = 1e-6
"""Variance that a map of one colour is taken to have."""


class EfficientNetLite0(nn.Module):
    """I -> f, S and d. Also trained elsewhere: `load_state_dict` takes the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = Same(3, STEM, 3, stride=2), Norm(STEM)
        blocks, before = [], STEM
        for repeats, width, stride, kernel, expand in STAGES:
            for number in range(repeats):
                blocks.append(Block(before, width, kernel, 1 if number else stride, expand))
                before = width
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = Same(before, HEAD, 1), Norm(HEAD)
        self.fc = nn.Linear(HEAD, CLASSES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        far: list[Tensor] = []
        x = functional.relu6(self.bn0(self.conv_stem(pictures.contiguous(memory_format=torch.channels_last)), far))
        for block in self.blocks:
            x = block(x, far)
        f = functional.relu6(self.bn1(self.conv_head(x), far))
        return f, self.fc(f.mean(dim=(2, 3))), torch.stack(far).log().mean(dim=0)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where the shape stays (Sandler et al. 2018)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        self.expands, self.adds = expand > 1, stride == 1 and before == after
        if self.expands:
            self.expand_conv, self.bn0 = Same(before, wide, 1), Norm(wide)
        self.depthwise_conv, self.bn1 = Same(wide, wide, kernel, stride, groups=wide), Norm(wide)
        self.project_conv, self.bn2 = Same(wide, after, 1), Norm(after)

    def forward(self, x: Tensor, far: list[Tensor]) -> Tensor:
        y = functional.relu6(self.bn0(self.expand_conv(x), far)) if self.expands else x
        y = functional.relu6(self.bn1(self.depthwise_conv(y), far))
        y = self.bn2(self.project_conv(y), far)
        return x + y if self.adds else y


class Norm(nn.BatchNorm2d):
    """Batch normalisation, which also appends to `far` how far each picture's map is from those of training.

    Training left the mean and variance of each channel here. A picture's channel has its own; the Kullback-Leibler
    divergence of the one normal distribution from the other, averaged over channels, is small for what training was
    like. The measure is Yin et al. 2020, 'Dreaming to Distill', equation 4, with the divergence in place of the norm.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-3)

    def forward(self, x: Tensor, far: list[Tensor]) -> Tensor:  # type: ignore[override]  # one argument more
        assert self.running_mean is not None and self.running_var is not None
        usual = self.running_var + self.eps
        variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
        shift = (mean - self.running_mean) ** 2
        far.append(0.5 * ((variance + shift) / usual - 1 - ((variance + LEAST) / usual).log()).mean(dim=1))
        return super().forward(x)


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: rows out = rows in / stride, one more of them below where uneven."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in x.shape[2:])
        return super().forward(functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))


def tensor_of(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size -> I."""
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return pixels.permute(0, 3, 1, 2).float().sub_(CENTRE).div_(SPREAD)
