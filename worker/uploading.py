"""Uploads the outputs of an attempt under the attempt's own prefix; a result too large for the record is one of them.

It checks the result against its kind's contract first. It knows neither the model nor how an attempt is committed.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from tasks import errors, registry
from tasks.algorithm import Result
from tasks.apart import BUCKETS
from tasks.bucket.layout import attempt_prefix, media_type_of
from tasks.bucket.storage import Storage
from tasks.job import Fixed
from tasks.ledger import Ledger
from worker import outputs
from worker.attempt import Attempt
from worker.patience import UPLOAD_S, patiently
from worker.slot import Slot

RESULT_MAX_BYTES = 32 * 1024
"""A larger result, as JSON in UTF-8, becomes an output."""
Uploaded = tuple[dict[str, Any], list[dict[str, Any]]]
"""The result for the record, and its outputs."""


class Outputs:
    """Uploads for the slots of one process."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self.storage, self.ledger = storage, ledger

    def upload(self, attempt: Attempt, made: Result, slot: Slot) -> Uploaded:
        """Check the result, then upload its files. A large result is written to the slot's folder of inputs.

        Errors: ModelFailed, StorageUnavailable; the attempt's own once it is asked to stop.
        """
        attempt.enter("uploading", passes=not made.files)
        fixed = attempt.fixed
        value, size = checked(fixed, made.value)
        files = outputs.checked(made.files)
        if size > RESULT_MAX_BYTES:
            large = slot.inputs / outputs.free_name("result.json", files)
            large.write_text(json.dumps(value))
            files.append(large)
            value = {"output": large.name}
            attempt.enter("uploading")
        prefix = attempt_prefix(fixed.tenant, fixed.id, attempt.claimed.number, attempt.claimed.token)
        return value, [self._upload_one(attempt, path, prefix + path.name) for path in files]

    def _upload_one(self, attempt: Attempt, path: Path, key: str) -> dict[str, Any]:
        media_type = media_type_of(path.name)
        put = partial(self.storage.put_file, key, path, media_type)
        size, sha256 = patiently(
            attempt, "take the outputs", UPLOAD_S, self.ledger, partial(BUCKETS.call, put, attempt.check)
        )
        return {"name": path.name, "media_type": media_type, "bytes": size, "sha256": sha256, "key": key}


def checked(fixed: Fixed, value: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The result, if it fits its kind's contract and can be shown, and its bytes as JSON. Errors: ModelFailed."""
    try:
        value = registry.contract(fixed.kind).result.model_validate(value).model_dump(mode="json")
        shown = to_json(value, inf_nan_mode="constants")
        if b"NaN" in shown or b"Infinity" in shown:
            json.dumps(value, allow_nan=False)  # a text may have the word
    except PydanticSerializationError as error:
        raise errors.ModelFailed("the model's result has a lone surrogate in it, which no text may have") from error
    except ValueError as error:
        raise errors.ModelFailed(f"the model's result does not fit the kind: {error}"[:500]) from error
    return value, len(shown)
