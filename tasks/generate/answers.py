"""What a call gets back: the result's JSON and the files beside it. It does not know how a text or a vector is made."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.algorithm import Call, Result

DIGITS = 6  # of an embedding's numbers, behind the point


def written(
    call: Call, prompt_tokens: int, told: Sequence[dict], completion_tokens: int, warnings: Sequence[dict] = ()
) -> Result:
    """The result of choices that have all ended; `told` is the contract's Choice of each."""
    files = [_file(call, "text.txt", told[0]["text"])]
    if len(told) > 1:
        files.append(_file(call, "choices.json", json.dumps(list(told), ensure_ascii=False, indent=1)))
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return Result({**told[0], "choices": list(told), "usage": usage, "warnings": list(warnings)}, tuple(files))


def embedded(call: Call, prompt_tokens: int, vector: np.ndarray, warnings: Sequence[dict] = ()) -> Result:
    """The result of `mode: embed`; `vector` (width,) of any length but 0."""
    embedding = [round(float(number), DIGITS) for number in vector / np.linalg.norm(vector)]
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 0}
    return Result(
        {"embedding": embedding, "usage": usage, "warnings": list(warnings)},
        (_file(call, "embedding.json", json.dumps(embedding)),),
    )


def _file(call: Call, name: str, text: str) -> Path:
    path = call.workdir / name
    path.write_text(text, encoding="utf-8", newline="")
    return path
