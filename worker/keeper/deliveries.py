"""Copies the outputs of succeeded jobs into their tenants' own buckets, at least once, tried again for three days.

Each output is streamed, its SHA-256 compared with the record's, and the job comes last as `job.json`: a folder that has
it is whole. Our copy stays the record. Of what a bucket does not answer the tenant is told in words without secrets.
"""

import hashlib
import threading
import time
from io import BytesIO
from typing import Any, BinaryIO, cast

from tasks.bucket.allowed import check_output
from tasks.bucket.layout import media_type_of
from tasks.bucket.storage import ObjectRefused, Patience, Storage
from tasks.delivery import place_of
from tasks.errors import Gone, InvalidInput, NotFound, StorageUnavailable
from tasks.job import Job
from tasks.ledger.owed import Owed
from tasks.service.jobs import Jobs
from worker.keeper.posting import Reply
from worker.keeper.sender import LEASE_S, RETRY_S, Room, Sender, host_of
from worker.keeper.skipped import Skipped

TRY_S = 3600.0
"""Seconds for all outputs of a job in one try."""
PATIENCE = Patience(connect_s=5, read_s=20, attempts=2)
"""Bounds on the silence of a tenant's bucket."""


class Deliveries(Sender):
    """The sender of deliveries of one keeper. A try holds two parts of an object in memory."""

    what = "delivery"
    room = Room(at_once=8, of_tenant=4, of_line=2)

    def __init__(self, jobs: Jobs, keeper: str, retry_s: float = RETRY_S) -> None:
        super().__init__(jobs, keeper, retry_s)
        self._under_way: dict[tuple[str, str], Owed] = {}  # by tenant and job
        self._lock = threading.Lock()

    def round(self, skipped: Skipped) -> None:
        """Prolong the leases of what is under way, then copy what is due. Errors: NotReady."""
        with self._lock:
            taken = list(self._under_way.values())
        if taken:
            self._ledger.lease_owed(self.what, taken, [host_of(owed.url) for owed in taken], LEASE_S)
        super().round(skipped)

    def _try(self, owed: Owed, skipped: Skipped) -> Reply:
        with self._lock:
            self._under_way[owed.tenant, owed.job_id] = owed
        try:
            check_output(owed.url, owed.tenant, self._settings)
            return self._copy(self._jobs.get(owed.tenant, owed.job_id), owed)
        except (InvalidInput, _Refused) as error:  # the operator allows it no longer, or the tenant's bucket
            return Reply(None, error.detail, late=isinstance(error, _Refused) and error.late)
        except (Gone, NotFound):
            return Reply(None, "the job was erased, or its retention ended, before its outputs were copied", ends=True)
        finally:
            with self._lock:
                del self._under_way[owed.tenant, owed.job_id]

    def _copy(self, job: Job, owed: Owed) -> Reply:
        """Errors: _Refused; NotFound; StorageUnavailable of our own bucket."""
        bucket, prefix = place_of(owed.url)
        elsewhere = {"s3_bucket": bucket, "s3_sse": None, "s3_sse_kms_key_id": None}
        theirs = Storage(self._settings.model_copy(update=elsewhere), PATIENCE)
        folder, end = f"{prefix}{job.id}/", time.monotonic() + TRY_S
        for output in job.outputs:
            with self._jobs.storage.reading(self._jobs.output_key(job.tenant, job.id, output.name)) as stream:
                source = _Source(stream, end)
                _put(theirs, folder + output.name, source, output.media_type)
            if (source.size, source.whole.hexdigest()) != (output.bytes, output.sha256):
                raise _Refused(f"the output {output.name} did not arrive whole")
        name = "job.json"
        _put(theirs, folder + name, BytesIO(job.model_dump_json().encode()), media_type_of(name))
        return Reply(200, f"{len(job.outputs) + 1} files copied")


class _Refused(StorageUnavailable):
    """The tenant's bucket did not take an object. `late`: it did not answer."""

    late = False


class _Source:
    """An object of ours as it is read; what goes wrong in reading is `fault`. It has no `seek`, so boto3 holds a part
    of it in memory, and no more."""

    def __init__(self, stream: Any, end: float) -> None:
        self._stream, self._end = stream, end
        self.size, self.whole = 0, hashlib.sha256()
        self.fault: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """Errors: TimeoutError once TRY_S are over; those of the stream."""
        if time.monotonic() > self._end:
            raise TimeoutError
        try:
            data: bytes = self._stream.read(None if size < 0 else size)
        except Exception as error:
            self.fault = error
            raise
        self.size += len(data)
        self.whole.update(data)
        return data


def _put(theirs: Storage, key: str, source: Any, media_type: str) -> None:
    """Errors: _Refused; whatever reading the source raised."""
    try:
        theirs.put_stream(key, cast(BinaryIO, source), media_type, in_turn=True)
    except StorageUnavailable as error:
        if getattr(source, "fault", None):
            raise
        refused = _Refused(error.detail.replace("the bucket", "your bucket", 1))
        refused.late = not isinstance(error, ObjectRefused)
        raise refused from error
    except TimeoutError as error:
        refused = _Refused(f"your bucket did not take all outputs within {TRY_S:g} s")
        refused.late = True
        raise refused from error
