"""Folders of weights as they come from elsewhere, whole and broken: a network of transformers saved, then changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tasks.registry import Registry

STORIES = Registry.default().model("generate", "stories").weights_path()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 1057344\n"
SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SPEECH = {
    **SMALL,
    "conv_dim": (16,),
    "conv_stride": (5,),
    "conv_kernel": (10,),
    "num_feat_extract_layers": 1,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
}
WHISPER = {
    "vocab_size": 64,
    "num_mel_bins": 16,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_source_positions": 50,
    "max_target_positions": 16,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
}
Broken = Callable[[Path], object]


def save(network: str, config: dict[str, Any], kept: Callable[[str], bool] = lambda name: True, **more: Any) -> Broken:
    """Saves a network of transformers, without the tensors not `kept`; `more` changes its config.json afterwards."""

    def write(folder: Path) -> None:
        shutil.rmtree(folder)
        torch.manual_seed(0)
        made = getattr(transformers, network)
        made(made.config_class(**config)).save_pretrained(folder)
        (folder / "vocab.json").write_text("{}")
        tensors(lambda found: {name: value for name, value in found.items() if kept(name)})(folder)
        configured(**more)(folder)

    return write


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Broken:
    def write(folder: Path) -> None:
        changed = change(load_file(folder / "model.safetensors"))
        save_file({name: value.clone() for name, value in changed.items()}, folder / "model.safetensors")

    return write


def configured(**more: Any) -> Broken:
    """None takes a field out."""

    def write(folder: Path) -> None:
        config = {**json.loads((folder / "config.json").read_text()), **more}
        kept = {name: value for name, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))

    return write


def put(name: str, content: str | bytes) -> Broken:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def instead(name: str, other: str, content: str | bytes) -> Broken:
    """A file in the place of another."""
    return lambda folder: ((folder / name).unlink(), put(other, content)(folder))


def gone(*names: str) -> Broken:
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name: str, share: float) -> Broken:
    def write(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(len(whole) * share)])

    return write


def sharded(then: Broken) -> Broken:
    """The stories' weights in four files with their index."""

    def write(folder: Path) -> None:
        network = AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder, max_shard_size="300KB")
        then(folder)

    return write


def more_tokens(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(folder)


def tokens_of(count: int) -> Broken:
    """A tokenizer of so many words beside the network."""

    def write(folder: Path) -> None:
        made = transformers.PreTrainedTokenizerFast.from_pretrained(STORIES)
        model = json.loads(made.backend_tokenizer.to_str())
        model["model"] = {"type": "WordLevel", "vocab": {f"w{n}": n for n in range(count)}, "unk_token": "w0"}
        model["added_tokens"] = []
        model["post_processor"] = None
        (folder / "tokenizer.json").write_text(json.dumps(model))

    return write


def without_head(name: str) -> bool:
    return not name.startswith("lm_head")
