"""Reads and changes the file of API keys. It holds hashes only, is replaced as a whole, and has mode 0600.

    {"keys": [{"sha256": hex, "tenant": "acme", "scope": "tenant" | "operator", "name": "for a person",
               "access": "full" | "read", "kinds": null | ["transcribe", ...], "created_at": time, "expires_at": time}]}

A key is 256 random bits, so its plain SHA-256 cannot be searched.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks import secret_file
from tasks.registry import Kind

TENANT = r"^[a-z0-9-]{1,40}$"
Tenant = Annotated[str, Field(pattern=TENANT)]
Scope = Literal["tenant", "operator"]
Access = Literal["full", "read"]
ID_DIGITS = 12
"""Hexadecimal digits of a key's id."""


class Key(BaseModel):
    """One key, without its secret. `scope` operator: all tenants' jobs and the operator's routes. `kinds`: the kinds of
    jobs it may submit, None for all. From `expires_at` on it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: Tenant
    scope: Scope = "tenant"
    name: str = Field("", max_length=200)
    access: Access = "full"
    kinds: list[Kind] | None = Field(None, min_length=1)
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None

    @property
    def id(self) -> str:
        """The key's name in lists and logs: the beginning of its hash."""
        return self.sha256[:ID_DIGITS]

    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[Key] = []


def digest(key: str) -> str:
    """The SHA-256 of a key, in hexadecimal, as the file keeps it."""
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> list[Key]:
    """The keys of a file. Errors: OSError; ValueError, which never shows a hash."""
    try:
        return _File.model_validate_json(path.read_bytes()).keys
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def add(
    path: Path,
    tenant: str,
    scope: Scope = "tenant",
    name: str = "",
    access: Access = "full",
    kinds: Sequence[Kind] | None = None,
    lives_s: float | None = None,
) -> str:
    """Adds a key and gives its secret, which is kept nowhere. `lives_s`: seconds until it expires. Errors: ValueError
    with a sentence for a person."""
    key, now = "bk_" + secrets.token_urlsafe(32), datetime.now(UTC)
    try:
        expires_at = None if lives_s is None else now + timedelta(seconds=lives_s)
        entry = Key(
            sha256=digest(key),
            tenant=tenant,
            scope=scope,
            name=name,
            access=access,
            kinds=list(kinds) if kinds else None,
            created_at=now,
            expires_at=expires_at,
        )
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    except OverflowError as error:
        raise ValueError("a key cannot live so long") from error
    with _changing(path) as keys:
        keys.append(entry)
    return key


def rotate(path: Path, which: str, overlap_s: float) -> tuple[Key, str]:
    """Replaces a key by a new one; the old one expires after `overlap_s` seconds. Gives the old key and the new secret,
    which is kept nowhere. Errors: ValueError."""
    new, now = "bk_" + secrets.token_urlsafe(32), datetime.now(UTC)
    with _changing(path) as keys:
        old = _one(keys, which)
        if old.expired():
            raise ValueError(f"the key {old.id} has expired; add a new one")
        until = min(filter(None, (old.expires_at, now + timedelta(seconds=overlap_s))))
        # the new key takes the name over, so that a name means one key
        name = f"{old.name} (until {until:%Y-%m-%d})".strip()[:200]
        retired = old.model_copy(update={"expires_at": until, "name": name})
        keys[keys.index(old)] = retired
        keys.append(old.model_copy(update={"sha256": digest(new), "created_at": now, "expires_at": None}))
    return retired, new


def remove(path: Path, which: str) -> Key:
    """Revokes the key with this name, or with this beginning of its hash (8 digits at least). Errors: ValueError."""
    with _changing(path) as keys:
        gone = _one(keys, which)
        keys.remove(gone)
    return gone


def remove_tenant(path: Path, tenant: str) -> list[Key]:
    """Revokes all keys of a tenant and gives them. Errors: OSError, ValueError."""
    with _changing(path) as keys:
        gone = [key for key in keys if key.tenant == tenant]
        keys[:] = [key for key in keys if key.tenant != tenant]
    return gone


def _one(keys: list[Key], which: str) -> Key:
    found = [key for key in keys if key.name == which or (len(which) >= 8 and key.sha256.startswith(which))]
    if len(found) != 1:
        raise ValueError(
            f"{which!r} is the name, or the beginning of the hash, of {len(found) or 'no'} "
            f"key{'s' if found else ''}; `backlot keys list` shows them"
        )
    return found[0]


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys, for one process at a time to change. Replaces the file atomically unless the block raises."""
    with secret_file.locked(path):
        keys = read(path) if path.exists() else []
        yield keys
        secret_file.replace(path, _File(keys=keys).model_dump_json(indent=2) + "\n")
