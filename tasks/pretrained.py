"""A folder in the form of transformers' `save_pretrained`, loaded whole or refused with the next step.

Three looks: at the files, before anything is made (hub_folder.py); at what transformers says it loaded; at the
numbers. transformers fills a missing tensor at random and goes on, so its report is read:

    missing     refused, but for SPARE and the constants among DERIVED; one tied to another that is there is not
    unexpected  refused where it lies in a module that the network has, for the file is then of another network (more
                layers, biases); a module beside them is a head of another task, and is left out

It knows no kind's inputs or results.
"""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.errors import ModelFailed
from tasks.folder import COPY_AGAIN, judged, listed, require, unusable, words
from tasks.hub_folder import look, packages

log = logging.getLogger(__name__)
INSTALL = re.compile(r"pip install (?:-\S+ )*[\"']?([\w.-]+)")
SAME = 64
"""Roundings by which two scores may differ that are computed from the same tokens."""
SPARE = re.compile(r"(^|\.)(masked_spec_embed|pooler\.dense\.(weight|bias))$")
"""Tensors that only training reads, or that feed an output nobody asks for: absent, the answer is the same."""
DERIVED = re.compile(
    r"(^|\.)(position_ids|inv_freq|(cos|sin)_cached|masked_bias|attn(ention)?\.bias|num_batches_tracked"
    r"|relative_position_index|version|_float_tensor|final_logits_bias)$"
)
"""Constants that older releases of transformers saved; the network makes them anew."""


def load_network(folder: Path | None, auto: type, dtype: torch.dtype | str) -> PreTrainedModel:
    """The network of a folder, of the class that `auto` (AutoModelForCTC, ...) makes of it, in evaluation mode, on the
    CPU. Errors: ModelFailed, never retryable."""
    found, config = look(folder, auto)
    with judged("transformers cannot make a network of them", "repair config.json, or " + COPY_AGAIN, found):
        model, info = _read(
            auto,
            found,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # it raises without a name otherwise
        )
    _judge_report(model, info)
    _judge_numbers(model)
    return model.eval()


def load_part(folder: Path | None, auto: type) -> Any:
    """The tokenizer, processor or image processor of a folder; errors: ModelFailed, never retryable."""
    found = require(folder)
    step = "put the files of the original's tokenizer and processor into the folder"
    with judged(f"the {_called(auto)} cannot be read", step, found):
        return _read(auto, found)


def _read(auto: type, folder: Path, **options: Any) -> Any:
    """Errors: ModelFailed where a package is missing, or code of the folder would have to be run; else transformers'
    own."""
    try:
        return auto.from_pretrained(  # type: ignore[attr-defined]
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except ImportError as error:
        raise _lacking(error, folder) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise unusable(
            f"their {_called(auto)} is Python code in the folder, which is never run",
            "take a checkpoint of which transformers itself has all classes",
        ) from error


def check_tokens(tokenizer: Any, model: PreTrainedModel, added: bool = True) -> None:
    """That the network has a number for each token; `added`: those beside the vocabulary too. Errors: ModelFailed."""
    rows = getattr(model.config.get_text_config(decoder=True), "vocab_size", None)
    apart = set() if added else {*tokenizer.get_added_vocab()}
    highest = max((number for token, number in tokenizer.get_vocab().items() if token not in apart), default=-1)
    if highest < 0:
        raise unusable("the tokenizer knows no token", COPY_AGAIN)
    if rows is not None and highest >= rows:
        raise unusable(
            f"the tokenizer's tokens go up to number {highest:,}, and the network has {rows:,}",
            "take the tokenizer that it was trained with, or train it after resize_token_embeddings",
        )


@torch.inference_mode()
def check_causal(model: PreTrainedModel) -> None:
    """That no score depends on a token behind it: an encoder loads as a language model and hears the future. Errors:
    ModelFailed."""
    rows = model.get_input_embeddings().weight.shape[0]
    texts = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device) % rows
    one, other = (model(input_ids=text[None]).logits[0, :3].double() for text in texts)
    if (one - other).abs().max() > SAME * torch.finfo(model.dtype).eps * one.abs().max():
        raise unusable(
            f"a {type(model).__name__} of these reads in both directions, as an encoder does, and cannot write",
            "take a causal language model, or set is_decoder in config.json if it was trained as one",
        )


def _judge_report(model: PreTrainedModel, info: dict[str, Any]) -> None:
    """By the report of from_pretrained; tensors that are tied to one that is there are not listed in it."""
    made = type(model).__name__
    if info["mismatched_keys"]:
        name, stored, wanted = sorted(info["mismatched_keys"])[0]
        raise unusable(
            f"{name} has the shape {'x'.join(map(str, stored))} in the file and {'x'.join(map(str, wanted))} by "
            "config.json",
            "take the config.json that was saved with the tensors",
        )
    parameters = {name for name, _ in model.named_parameters()}
    missing = sorted(
        name
        for name in info["missing_keys"]
        if not SPARE.search(name) and (name in parameters or not DERIVED.search(name))
    )
    if missing:
        inside = model.base_model_prefix + "."
        head = model.base_model is not model and not any(name.startswith(inside) for name in missing)
        raise unusable(
            f"the safetensors lack {_counted(missing)} of a {made} ({listed(missing)})",
            "this is the base without its head: take one that was trained for the task, or train it"
            if head
            else "save the network whole, or correct config.json",
        )
    modules = {name for whole in (model, model.base_model) for name, _ in whole.named_children()}
    unexpected = sorted(name for name in info["unexpected_keys"] if not SPARE.search(name) and not DERIVED.search(name))
    if adapters := [name for name in unexpected if "lora_" in name]:
        raise unusable(
            f"the safetensors hold an adapter (LoRA) that would be ignored ({listed(adapters, 1)})",
            "merge it into its base (merge_and_unload of peft) and save the whole",
        )
    foreign = [name for name in unexpected if name.partition(".")[0] in {*modules, model.base_model_prefix}]
    if foreign:
        raise unusable(
            f"the safetensors hold {_counted(foreign)} that config.json leaves no place for ({listed(foreign)})",
            "take the config.json that was saved with them",
        )
    if unexpected:
        log.info("%s: %d tensors of other heads are left out: %s", made, len(unexpected), listed(unexpected))


def _counted(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _judge_numbers(model: PreTrainedModel) -> None:
    for name, values in model.named_parameters():
        plain = values.is_floating_point() and values.element_size() > 1 and values.numel()
        if plain and not torch.isfinite(torch.stack(torch.aminmax(values.detach()))).all():
            raise unusable(f"{name} has a number that is not finite (NaN or infinity)", COPY_AGAIN)


def _lacking(error: ImportError, folder: Path) -> ModelFailed:
    """Permanent: a worker that stands without a package would fail three attempts alike."""
    told = INSTALL.search(str(error))
    package = told[1] if told else error.name
    if package:
        return unusable(
            f"they need {packages([package])}, which the worker has not",
            "install it in the worker's environment and start the worker again",
        )
    return unusable(f"the worker lacks something that they need ({words(error, folder)})", "install it there")


def _called(auto: type) -> str:
    known = {"AutoTokenizer": "tokenizer", "AutoImageProcessor": "image processor", "AutoProcessor": "processor"}
    return known.get(auto.__name__, "network")
