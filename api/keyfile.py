"""The file of API keys: hashes only, changed as a whole, readable by its owner alone.

    {"keys": [{"sha256": hex, "tenant": "acme", "scope": "tenant" | "operator", "name": "for a person"}]}

A key is 256 random bits, so its plain SHA-256 cannot be searched.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Tenant = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
Scope = Literal["tenant", "operator"]


class Key(BaseModel):
    """One key, by its hash. `scope` operator: the tenant's own things, and the pools."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: Tenant
    scope: Scope = "tenant"
    name: str = Field("", max_length=200)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[Key] = []


def digest(key: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> list[Key]:
    """The keys of a file. Errors: OSError; ValueError, which never shows a hash."""
    try:
        return _File.model_validate_json(path.read_bytes()).keys
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def add(path: Path, tenant: str, scope: Scope = "tenant", name: str = "") -> str:
    """A new key; it is shown here and never again. Errors: ValueError for a tenant that is none."""
    key = "bk_" + secrets.token_urlsafe(32)
    try:
        entry = Key(sha256=digest(key), tenant=tenant, scope=scope, name=name)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    with _changing(path) as keys:
        keys.append(entry)
    return key


def remove(path: Path, which: str) -> Key:
    """Take back the key of this name, or whose hash begins so (8 digits at least). Errors: ValueError."""
    with _changing(path) as keys:
        found = [key for key in keys if key.name == which or (len(which) >= 8 and key.sha256.startswith(which))]
        if len(found) != 1:
            raise ValueError(f"{len(found) or 'no'} keys are called {which!r} or have a hash that begins so")
        keys.remove(found[0])
    return found[0]


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, to be changed by one process at a time; put in place in one step, if nothing was raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read(path) if path.exists() else []
        yield keys
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as new:
            new.write(_File(keys=keys).model_dump_json(indent=2) + "\n")
            new.flush()
            os.fsync(new.fileno())
        os.replace(new.name, path)  # tempfile made it 0600
