"""The erasure of all of a tenant, and its receipt: one object in the bucket, asked for by the API, done by the keeper.

The receipt lies outside the tenant's prefix, so that the erasure does not delete it, and not in Redis, so that a flush
does not lose the request.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from tasks.bucket.storage import Storage
from tasks.errors import NotFound
from tasks.ids import new_id

FOLDER = "erasures/"


class Erasure(BaseModel):
    """The erasure of one tenant and its progress. The counts are of what was deleted so far."""

    object: Literal["erasure"] = "erasure"
    id: str
    tenant: str
    done: bool = False
    asked_at: datetime
    asked_by: str = Field(description="the id of the operator's key")
    completed_at: datetime | None = None
    jobs: int = Field(0, ge=0, description="records of jobs")
    objects: int = Field(0, ge=0, description="objects in the bucket: outputs, uploads, records of ended jobs, models")
    bytes: int = Field(0, ge=0, description="of those objects")
    journal_entries: int = Field(0, ge=0, description="lines of the journal")
    keys: int = Field(0, ge=0, description="other entries in Redis: quotas, Idempotency-Keys, uploads that wait")

    @property
    def name(self) -> str:
        """Its object's key."""
        return f"{FOLDER}{self.tenant}/{self.id}.json"

    def save(self, storage: Storage) -> None:
        """Writes the receipt to the bucket. Errors: StorageUnavailable."""
        storage.put_bytes(self.name, self.model_dump_json().encode(), "application/json")


def ask(storage: Storage, tenant: str, by: str) -> Erasure:
    """The erasure that is under way, or a new one. Errors: StorageUnavailable."""
    latest = _latest(storage, tenant)
    if latest and not latest.done:
        return latest
    erasure = Erasure(id=new_id("erasure"), tenant=tenant, asked_at=datetime.now(UTC), asked_by=by)
    erasure.save(storage)
    return erasure


def read(storage: Storage, tenant: str) -> Erasure:
    """The tenant's newest erasure. Errors: NotFound, StorageUnavailable."""
    latest = _latest(storage, tenant)
    if latest is None:
        raise NotFound(f"the tenant {tenant} was never erased")
    return latest


def under_way(storage: Storage) -> Iterator[Erasure]:
    """The erasures that are not done. An object that cannot be parsed is skipped. Errors: StorageUnavailable."""
    for seen in list(storage.list(FOLDER)):
        erasure = _read(storage, seen.key)
        if erasure and not erasure.done and erasure.name == seen.key:
            yield erasure


def _latest(storage: Storage, tenant: str) -> Erasure | None:
    names = [seen.key for seen in storage.list(f"{FOLDER}{tenant}/")]  # ids sort by time
    return next(filter(None, (_read(storage, name) for name in reversed(names))), None)


def _read(storage: Storage, name: str) -> Erasure | None:
    try:
        return Erasure.model_validate(json.loads(storage.get_bytes(name)))
    except (NotFound, ValueError):
        return None
