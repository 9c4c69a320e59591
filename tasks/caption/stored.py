"""How networks lie on disk: one safetensors file of float16 in a folder. Knows nothing of what they are."""

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

FILE = "model.safetensors"


def write_tensors(network: nn.Module, folder: Path) -> None:
    tensors = {
        name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    stored = save({name: value.contiguous().cpu() for name, value in tensors.items()})
    (folder / FILE).write_bytes(stored)  # save_file would make it unreadable for other users


def read_tensors(folder: Path) -> dict[str, Tensor]:
    return {
        name: value.float() if value.is_floating_point() else value for name, value in load_file(folder / FILE).items()
    }
