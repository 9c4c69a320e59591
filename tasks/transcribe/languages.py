"""Languages of a checkpoint of the hub: which it knows, by its own files. It knows no sound and runs no network.

Whisper      those of its generation config; English alone where that says so, or the vocabulary is that of *.en
MMS          those that it has an adapter for
all others   `language` in the model card, README.md
"""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

CODE = re.compile(r"[a-z]{2,3}")
ENGLISH_ROWS = 51_864
"""Tokens of OpenAI's English-only Whispers; those of many languages have one more."""
TASKS = ("transcribe", "translate")


def of_card(folder: Path | None) -> tuple[str, ...]:
    """ISO 639 codes in the model card; none where it has no card, or names something else ('multilingual')."""
    try:
        named = (metadata_load(folder / "README.md") or {}).get("language") if folder else None
    except Exception:  # a card that is absent, or that YAML cannot read, tells nothing
        return ()
    codes = ["no" if one is False else str(one) for one in (named if isinstance(named, list) else [named])]
    return tuple(codes) if all(CODE.fullmatch(code) for code in codes) else ()  # YAML reads `no` as false


def of_adapters(folder: Path | None) -> tuple[str, ...]:
    """Languages that a folder has an adapter for: adapter.<language>.safetensors (MMS)."""
    return tuple(sorted(path.name.split(".")[1] for path in folder.glob("adapter.*.safetensors"))) if folder else ()


def of_whisper(network: Any, tokenizer: Any) -> tuple[str, ...]:
    """What generate() of a Whisper can be told; its generation config is completed from the tokenizer where it lacks
    the numbers of languages and tasks. None where neither has any."""
    settings, vocabulary = network.generation_config, tokenizer.get_vocab()
    known = getattr(settings, "lang_to_id", None)
    many = getattr(settings, "is_multilingual", None)
    if many is False or (not known and network.config.vocab_size == ENGLISH_ROWS):
        return ("en",)
    if not known:
        known = {f"<|{code}|>": vocabulary[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in vocabulary}
        if known:
            settings.lang_to_id, settings.is_multilingual = known, True
    if known and not getattr(settings, "task_to_id", None):
        settings.task_to_id = {task: vocabulary[f"<|{task}|>"] for task in TASKS if f"<|{task}|>" in vocabulary}
    if not hasattr(settings, "no_timestamps_token_id") and "<|notimestamps|>" in vocabulary:
        settings.no_timestamps_token_id = vocabulary["<|notimestamps|>"]
    return tuple(sorted(token.strip("<|>") for token in known))


def preset(network: Any) -> str | None:
    """The language that a Whisper's generation config sets, as a code."""
    named = str(getattr(network.generation_config, "language", None) or "").strip("<|>").lower()
    return TO_LANGUAGE_CODE.get(named, named) or None
