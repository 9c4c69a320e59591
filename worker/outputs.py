"""Checks the names of a result's files before any is uploaded: each becomes one output, none replaces another.

A name is the last part of an object's key and of a path (`/v1/jobs/{id}/outputs/{name}`), and a file where it is
downloaded to. `#`, `?`, `%`, blanks and every script are good in all three.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tasks.bucket.layout import NAME_MAX_BYTES
from tasks.errors import ModelFailed


def checked(files: Sequence[Path]) -> list[Path]:
    """The files, unchanged. Errors: ModelFailed: leaving one out or renaming it would be a guess."""
    names = [path.name for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelFailed(f"the model made more than one output of the name {twice[0]!r}")
    for path in files:
        if wrong := _wrong(path.name):
            raise ModelFailed(f"the model made an output of the name {path.name[:200]!a}, {wrong}")
        if not path.is_file():
            raise ModelFailed(f"the model names an output {path.name!r}, and there is no such file")
    return list(files)


def free_name(name: str, files: Sequence[Path]) -> str:
    """`name`, or the first like it that none of the files has."""
    taken, path, number = {file.name for file in files}, Path(name), 1
    while name in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    return name


def _wrong(name: str) -> str | None:
    if any(unicodedata.category(c) in ("Cc", "Cs") or c in "\u2028\u2029" for c in name):
        return "which has control characters or half ones in it"
    if name in ("", ".", "..") or name != name.strip() or "\\" in name:
        return "which is no name of a file everywhere"
    size = len(name.encode())
    return f"of {size} bytes; it may have {NAME_MAX_BYTES}" if size > NAME_MAX_BYTES else None
