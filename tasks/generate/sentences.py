"""A text's meaning as a vector, by a folder of sentence-transformers: its own pooling, prompt and layers behind.

Reimers, Gurevych, "Sentence-BERT" (2019). modules.json lists what follows on the network: Pooling, Dense, Normalize;
another module is refused. The vector is that of SentenceTransformer.encode, of length 1. A text is read as far as
max_seq_length. It embeds alone: it writes nothing.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from tasks.algorithm import Call
from tasks.errors import InvalidInput, TooLarge
from tasks.folder import judged, read_json, require, tensor_types, unusable
from tasks.generate import EMBEDS_ONLY
from tasks.generate.language import LanguageModel, unknown, usable
from tasks.generate.writing import Prompt, Reading
from tasks.pretrained import check_tokens, load_network, load_part
from tasks.warning import warning

MODULES = "modules.json"
POOLED: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda read: read[0],
    "max": lambda read: read.max(dim=0).values,
    "mean": lambda read: read.mean(dim=0),
    "mean_sqrt_len": lambda read: read.sum(dim=0) / math.sqrt(len(read)),
    "weightedmean": lambda read: (read * (weights := torch.arange(1.0, len(read) + 1)[:, None])).sum(0) / weights.sum(),
    "lasttoken": lambda read: read[-1],
}
"""(tokens, width) to (width,), in the order in which several are put one behind the other."""
BETWEEN: dict[str, type[nn.Module]] = {
    name: getattr(nn, name) for name in ("GELU", "Identity", "ReLU", "Sigmoid", "SiLU", "Tanh")
}


class Sentences(LanguageModel):
    """An encoder or a decoder, read once a text; texts run one by one, so that none reads another's padding."""

    def __init__(self, folder: Path, device: str) -> None:
        """Errors: ModelFailed, of a folder that is not whole, or has a module that is not served."""
        with judged("modules.json cannot be read", "take the modules.json that was saved with the network", folder):
            first, *rest = _modules(folder)
        if first[0] != "Transformer":
            raise unusable(f"modules.json begins with {first[0]}, not with a Transformer", "take another embedder")
        inner = first[1]
        self.network = load_network(inner, AutoModel, "auto" if device == "cuda" else torch.float32).to(device)
        self.tokenizer = load_part(inner, AutoTokenizer)
        check_tokens(self.tokenizer, self.network)
        said = read_json(inner / "sentence_bert_config.json") if (inner / "sentence_bert_config.json").exists() else {}
        self.lower = bool(said.get("do_lower_case"))
        learned = getattr(self.network.config.get_text_config(), "max_position_embeddings", None) or math.inf
        limits = said.get("max_seq_length") or math.inf, self.tokenizer.model_max_length, learned
        self.most = int(min(*limits, *places(self.network)))
        self.prompt_before = _prompt(folder)
        self.steps = [_step(*module, self) for module in rest if module[0] != "Normalize"]  # any vector has length 1
        if not any(name == "Pooling" for name, _ in rest):
            raise unusable("modules.json has no Pooling", "take the folder that sentence-transformers saved")
        with judged("the embedder fails at a first text", "take one that needs nothing but text", folder):
            self.pooled([self._tokens("A first text.")[: self.most]])

    @classmethod
    def load(cls, weights: Path | None, device: str) -> "Sentences":
        return cls(require(weights, MODULES), device)

    def prompt(self, call: Call) -> Prompt:
        raise InvalidInput(EMBEDS_ONLY)

    def reading(self, rows: int) -> Reading:
        raise NotImplementedError("nothing is written")

    def _tokens(self, text: str) -> list[int]:
        said = self.prompt_before + text
        return self.tokenizer(said.lower() if self.lower else said)["input_ids"]

    def windows(self, text: str) -> list[list[int]]:
        """One, of as many tokens as are read; the marks at its end stay."""
        said = self.prompt_before + text
        return [
            self.tokenizer(said.lower() if self.lower else said, truncation=True, max_length=self.most)["input_ids"]
        ]

    def embeddable(self, call: Call) -> tuple[list[list[int]], list[dict[str, str]]]:
        text = usable(call.inputs.get("prompt"))
        (window,), whole = self.windows(text), len(self._tokens(text))
        if whole <= len(window):
            return [window], unknown(window, self.tokenizer)
        if call.params.on_long_prompt == "refuse":
            raise TooLarge(
                f"the prompt has {whole:,} tokens and this embedder reads {self.most:,}; shorten it, or set "
                "on_long_prompt to 'cut' to have its beginning read"
            )
        detail = f"The prompt is longer than the embedder reads: of {whole:,} tokens only the first {self.most:,} were."
        return [window], [warning("prompt_cut", detail), *unknown(window, self.tokenizer)]

    @torch.inference_mode()
    def pooled(self, windows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        made = []
        for window in windows:
            given = torch.tensor([list(window)], device=self.network.device)
            vector: Tensor = self.network(input_ids=given).last_hidden_state[0].float().cpu()
            for step in self.steps:
                vector = step(vector)
            made.append(vector.double().numpy())
        return np.stack(made), np.ones(len(made))


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """The kind of each module, as the last word of its class' name, and its folder; in order."""
    listed = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    return [(str(one["type"]).rpartition(".")[2], folder / one.get("path", "")) for one in listed]


def _prompt(folder: Path) -> str:
    """What stands before each text by default."""
    path = folder / "config_sentence_transformers.json"
    said = read_json(path) if path.exists() else {}
    return str((said.get("prompts") or {}).get(said.get("default_prompt_name") or "", ""))


def _step(name: str, folder: Path, model: Sentences) -> Callable[[Tensor], Tensor]:
    """A module behind the network, as a function of vectors."""
    if name == "Pooling":
        return _pooling(read_json(require(folder, "config.json") / "config.json"), model)
    if name == "Dense":
        return _dense(folder)
    raise unusable(f"modules.json has a module {name}, which is not served", "take an embedder without it")


def _pooling(said: dict[str, Any], model: Sentences) -> Callable[[Tensor], Tensor]:
    named = said.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    for mode in POOLED:
        if (
            said.get(f"pooling_mode_{mode}")
            or said.get(f"pooling_mode_{mode}_token")
            or said.get(f"pooling_mode_{mode}_tokens")
        ):
            modes.append(mode)
    if not modes or not {*modes} <= POOLED.keys():
        raise unusable(
            f"its pooling {', '.join(modes) or 'has no mode'} is not served", f"take one of {', '.join(POOLED)}"
        )
    if said.get("include_prompt", True) is False and model.prompt_before:
        raise unusable("its pooling leaves the prompt's tokens out, which is not served", "take another embedder")
    order = [mode for mode in POOLED if mode in modes]
    return lambda read: torch.cat([POOLED[mode](read) for mode in order])


def _dense(folder: Path) -> Callable[[Tensor], Tensor]:
    said = read_json(require(folder, "config.json", "model.safetensors") / "config.json")
    between = str(said.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if between not in BETWEEN:
        raise unusable(f"its Dense layer is followed by {between}, which is not served", "take another embedder")
    layer = nn.Linear(said["in_features"], said["out_features"], bias=bool(said.get("bias", True)))
    tensor_types(folder / "model.safetensors")
    stored = load_file(folder / "model.safetensors")
    with judged("the Dense layer does not fit its config.json", "copy the folder again", folder):
        layer.load_state_dict({name.removeprefix("linear."): values.float() for name, values in stored.items()})
    return nn.Sequential(layer, BETWEEN[between]()).eval()


def places(model: PreTrainedModel) -> list[int]:
    """Places of learned positions that begin after a padding token's, which is none of the text's."""
    learned = [module for name, module in model.named_modules() if "position" in name.rpartition(".")[2]]
    return [
        module.num_embeddings - module.padding_idx - 1
        for module in learned
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None
    ]
