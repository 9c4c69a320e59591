"""A folder in the form of transformers' `save_pretrained`, as it lies: what can be known before a network is made.

It reads config.json, the index of shards and the headers of safetensors, and refuses what transformers would ignore,
fetch, run, or fail at with words for its developers. It knows which sorts of network Backlot serves, and by which
algorithm; it makes none of them.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from tasks.folder import CONFIG, COPY_AGAIN, TENSORS, check_bytes, listed, read_json, require, tensor_types, unusable

INDEX = "model.safetensors.index.json"
OTHER_FORMATS = {
    "*.gguf": "GGUF, the format of llama.cpp",
    "*.bin": "a pickle of PyTorch (.bin)",
    "*.pt": "a pickle of PyTorch (.pt)",
    "*.pth": "a pickle of PyTorch (.pth)",
    "*.ckpt": "a pickle of PyTorch (.ckpt)",
    "*.h5": "a TensorFlow file (.h5)",
    "*.msgpack": "a Flax file (.msgpack)",
    "*.onnx": "ONNX",
}
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors$")
VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json", "*.spm")
"""Files of which one holds a tokenizer's tokens."""
BYTES_ALONE = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Tokenizers whose tokens are bytes or characters, and stand in no file."""
PACKAGES = {
    "awq": ("gptqmodel", "accelerate"),
    "bitsandbytes": ("bitsandbytes", "accelerate"),
    "compressed-tensors": ("compressed_tensors", "accelerate"),
    "fp8": ("accelerate",),
    "gptq": ("gptqmodel", "optimum"),
    "mxfp4": ("accelerate", "kernels"),
    "torchao": ("torchao", "accelerate"),
}
"""Python packages that a way of quantising needs; those of the others transformers names."""
PLAIN = ("F64", "F32", "F16", "BF16", "C64")
"""Types of safetensors whose numbers mean what they say."""


class Family(NamedTuple):
    """A sort of network: what it is called, which algorithm serves it, and its class of each model_type."""

    called: str
    served_by: str
    classes: dict[str, Any]

    def names(self) -> set[str]:
        """The names of all its classes."""
        each = (names if isinstance(names, tuple | list) else (names,) for names in self.classes.values())
        return {name for names in each for name in names}


FAMILIES = {
    "AutoModelForCausalLM": Family(
        "causal language model", "generate by hf", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    ),
    "AutoModelForCTC": Family("CTC speech model", "transcribe by ctc", modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES),
    "AutoModelForSpeechSeq2Seq": Family(
        "speech sequence-to-sequence model",
        "transcribe by whisper",
        modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    ),
    "AutoModelForImageTextToText": Family(
        "model from pictures to text", "caption by hf", modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    ),
}


def look(folder: Path | None, auto: type) -> tuple[Path, dict[str, Any]]:
    """The folder and its config.json, after all that can be known of them without a network. Errors: ModelFailed."""
    found = require(folder)
    _check_adapter(found)
    if not any(found.glob("*.safetensors")):
        _check_format(found)
    config = read_json(require(found, CONFIG) / CONFIG)
    _check_type(config)
    _check_family(config, auto)
    _check_quantised(config)
    types = {name: kind for path in _weights(found, config) for name, kind in tensor_types(path).items()}
    _check_plain(config, types)
    for path in found.iterdir():
        if path.suffix in (".json", ".txt", ".model", ".jinja", ".tiktoken") and path.is_file():
            check_bytes(path)
    _check_vocabulary(found)
    return found, config


def _check_type(config: dict[str, Any]) -> None:
    named = config.get("model_type")
    if not isinstance(named, str) or not named:
        raise unusable("config.json has no model_type", "take the config.json that transformers saved with the network")
    if named in CONFIG_MAPPING:
        return
    if config.get("auto_map"):
        raise unusable(
            f"{named} is no architecture of transformers but Python code in the folder, which is never run",
            "take a checkpoint that transformers itself has an architecture for",
        )
    raise unusable(
        f"the worker's transformers {transformers.__version__} knows no model_type {named!r}",
        "install a release of transformers that does, or correct config.json",
    )


def _check_family(config: dict[str, Any], auto: type) -> None:
    """By model_type, and by the class that config.json says the tensors are of, where transformers knows that class.
    Classes of the bare network (BertModel) are judged by what is missing; so are pictures' networks that hold a
    language model."""
    family = FAMILIES.get(auto.__name__)
    if family is None:
        return
    given = config.get("architectures")
    named = [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
    foreign = [name for name in named if hasattr(transformers, name) and not name.endswith("Model")]
    wanted = family.names() | FAMILIES["AutoModelForImageTextToText"].names()
    if config["model_type"] in family.classes and (not foreign or wanted & {*foreign}):
        return
    said = (foreign or named or [config["model_type"]])[0]
    other = next((each for each in FAMILIES.values() if said in each.names() or said in each.classes), None)
    step = f"serve it by an entry of models.toml for {other.served_by}" if other else f"take a {family.called}"
    raise unusable(f"config.json says {said}, which is no {family.called}", step)


def _check_adapter(folder: Path) -> None:
    if (folder / "adapter_config.json").exists() or any(folder.glob("adapter_model.*")):
        raise unusable(
            "the folder holds an adapter (LoRA), which would be ignored",
            "merge it into its base (merge_and_unload of peft) and save the whole",
        )


def _check_format(folder: Path) -> None:
    for pattern, called in OTHER_FORMATS.items():
        if any(folder.glob(pattern)):
            raise unusable(
                f"they are {called}, and only safetensors are loaded",
                "convert them: load them with transformers and save them with save_pretrained",
            )


def _check_quantised(config: dict[str, Any]) -> None:
    text = config.get("text_config")
    parts = [config, text] if isinstance(text, dict) else [config]
    for given in (part.get(name) for part in parts for name in ("quantization_config", "compression_config")):
        if given is None:
            continue
        if not isinstance(given, dict):
            raise unusable("quantization_config of config.json is not an object", COPY_AGAIN)
        loads = any(given.get(name) for name in ("load_in_4bit", "load_in_8bit"))
        method = "bitsandbytes" if loads else str(given.get("quant_method"))
        if not loads and not given.get("quant_method"):
            raise unusable("quantization_config of config.json has no quant_method", COPY_AGAIN)
        if method != "bitsandbytes" and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
            raise unusable(
                f"config.json says that they are quantised by {method[:40]!r}, which the worker's transformers "
                f"{transformers.__version__} does not know",
                "take the checkpoint that is not quantised",
            )
        missing = [package for package in PACKAGES.get(method, ()) if find_spec(package) is None]
        if missing:
            raise unusable(
                f"they are quantised by {method}, which needs {packages(missing)}, and the worker has not",
                "install it in the worker's environment and start the worker again, or take the checkpoint that is "
                "not quantised",
            )


def packages(names: Sequence[str]) -> str:
    return f"the Python package{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def _weights(folder: Path, config: dict[str, Any]) -> list[Path]:
    """The safetensors files that transformers will read."""
    explicit = config.get("transformers_weights")
    if isinstance(explicit, str):
        return [require(folder, explicit) / explicit]
    if (folder / TENSORS).is_file():
        return [folder / TENSORS]
    if (folder / INDEX).is_file():
        return _shards(folder)
    others = sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())
    if any(map(SHARD.match, others)):
        raise unusable(f"the folder has shards but no {INDEX}", COPY_AGAIN)
    if others:
        raise unusable(
            f"the folder has {listed(others)} and no {TENSORS}", f"rename the file with the whole network to {TENSORS}"
        )
    raise unusable(f"the folder has no {TENSORS}", COPY_AGAIN)


def _shards(folder: Path) -> list[Path]:
    check_bytes(folder / INDEX)
    index = read_json(folder / INDEX)
    named = index.get("weight_map")
    if not isinstance(named, dict) or not named or not isinstance(index.get("metadata"), dict):
        raise unusable(f"{INDEX} has no weight_map or no metadata", COPY_AGAIN)
    shards = sorted({str(name) for name in named.values()})
    if any("/" in name or "\\" in name for name in shards):
        raise unusable(f"{INDEX} names files outside the folder", COPY_AGAIN)
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise unusable(f"the folder lacks {listed(missing)} of the {len(shards)} files that {INDEX} names", COPY_AGAIN)
    return [folder / name for name in shards]


def _check_plain(config: dict[str, Any], types: dict[str, str]) -> None:
    """Numbers of 8 bits and fewer mean nothing without their scales, but are read as numbers all the same."""
    packed = sorted(name for name, kind in types.items() if name.endswith("weight") and kind not in PLAIN)
    if packed and not config.get("quantization_config") and not config.get("compression_config"):
        raise unusable(
            f"tensors are of type {types[packed[0]]}, as quantised tensors are ({listed(packed, 1)}), and config.json "
            "has no quantization_config",
            "take the config.json that belongs to them, or the checkpoint that is not quantised",
        )


def _check_vocabulary(folder: Path) -> None:
    if any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        return
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or read_json(settings).get("tokenizer_class") not in BYTES_ALONE:
        raise unusable(
            "the folder has no tokenizer", "copy tokenizer.json and tokenizer_config.json of the original into it"
        )
