"""Jobs as sources of other jobs' inputs: their texts and outputs, from the record or the bucket, of one tenant alone.

A job is found for a submit and read for a worker here; the ledger's scripts decide who waits for whom.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.errors import BacklotError, DependencyFailed, InvalidInput, NotFound, OperatorError
from tasks.job import FINAL, Fixed, Status
from tasks.ledger import Ledger
from tasks.registry import contract
from tasks.service.archive import Archive


@dataclass(frozen=True)
class Source:
    """A job as a submit that names it finds it. `outputs`: names, once it has succeeded. `in_archive`: Redis has no
    record of it."""

    kind: str
    status: Status
    outputs: tuple[str, ...] = ()
    in_archive: bool = False


class Chains:
    """The jobs of tenants as sources. Errors of everything: NotReady, StorageUnavailable."""

    def __init__(self, ledger: Ledger, archive: Archive) -> None:
        self.ledger, self.archive = ledger, archive

    def find(self, tenant: str, job_id: str) -> Source:
        """The tenant's job. Errors: InvalidInput where there is none, or it is erased."""
        record = self.ledger.record(job_id)
        if record is None:
            self.ledger.ready()  # a Redis that has lost records knows too few
            record = self.ledger.record(job_id)
        if record and record.get("tenant") != tenant:
            raise InvalidInput(f"there is no job {job_id}")
        if record and "shrunk" not in record:
            outputs = tuple(output["name"] for output in json.loads(record.get("outputs") or "[]"))
            return Source(Fixed.model_validate_json(record["fixed"]).kind, Status(record["status"]), outputs)
        job = self._archived(tenant, job_id)
        return Source(job.kind, job.status, tuple(output.name for output in job.outputs), record is None)

    def judged(self, fixed: Fixed) -> Fixed:
        """The request of an old job, whose sources are looked for anew. Errors: InvalidInput, DependencyFailed."""
        if not fixed.waits_for:
            return fixed
        found = {job_id: self.find(fixed.tenant, job_id) for job_id in fixed.waits_for}
        return fixed.model_copy(update={"in_archive": in_archive(found.items())})

    def restored(self, fixed: Fixed) -> Fixed:
        """The same in a restore, where a job whose sources are gone is recorded, and fails. Errors: OperatorError."""
        found: dict[str, Source] = {}
        for job_id in fixed.waits_for:
            if self.ledger.record(job_id) is None:
                try:
                    job = self.archive.get(fixed.tenant, job_id)
                except OperatorError as error:
                    if error.retryable:
                        raise
                except BacklotError:
                    continue
                else:
                    found[job_id] = Source(job.kind, job.status, in_archive=True)
        kept = frozenset(job_id for job_id, one in found.items() if one.status is Status.SUCCEEDED)
        return fixed.model_copy(update={"in_archive": kept})

    def text(self, tenant: str, job_id: str) -> str:
        """The text that a job has made. Errors: InvalidInput where it is erased or made none."""
        record = self.ledger.record(job_id)
        if record and record.get("tenant") == tenant and "shrunk" not in record:
            kind, result = Fixed.model_validate_json(record["fixed"]).kind, json.loads(record.get("result") or "{}")
        else:
            job = self._archived(tenant, job_id)
            kind, result = job.kind, job.result or {}
        field = contract(kind).text
        text = result.get(field) if field else None
        if not isinstance(text, str):
            raise InvalidInput(f"job {job_id} made no text")
        return text

    def output_key(self, tenant: str, job_id: str, name: str) -> tuple[str, int]:
        """The key and the bytes of an output. Errors: InvalidInput where the job is erased or has no such output."""
        record = self.ledger.record(job_id)
        outputs: list[dict[str, Any]]
        if record and record.get("tenant") == tenant and "shrunk" not in record:
            outputs = json.loads(record.get("outputs") or "[]")
            for output in outputs:
                if output["name"] == name:
                    return output["key"], output["bytes"]
        else:
            job = self._archived(tenant, job_id)
            outputs = [output.model_dump() for output in job.outputs]
            key = self.archive.output_key(tenant, job_id, name)
            if key is not None:
                return key, next(output["bytes"] for output in outputs if output["name"] == name)
        raise InvalidInput(no_output(job_id, name, (output["name"] for output in outputs)))

    def _archived(self, tenant: str, job_id: str) -> Any:
        try:
            return self.archive.get(tenant, job_id)
        except NotFound as error:
            raise InvalidInput(error.detail) from error


def check(source: Source, job_id: str, output: str, is_text: bool) -> None:
    """That a source can give an input what it asks for, as far as it is known now. Errors: InvalidInput,
    DependencyFailed."""
    if source.status in FINAL and source.status is not Status.SUCCEEDED:
        raise DependencyFailed(f"job {job_id} has ended as {source.status}; retry it, and name the new job")
    if output:
        if source.status is Status.SUCCEEDED and output not in source.outputs:
            raise InvalidInput(no_output(job_id, output, source.outputs))
    elif not is_text:
        raise InvalidInput(f"this input is a file: name an output, as job:{job_id}/<output>")
    elif contract(source.kind).text is None:
        raise InvalidInput(f"a {source.kind} job makes no text: name an output, as job:{job_id}/<output>")


def no_output(job_id: str, name: str, there: Iterable[str]) -> str:
    names = ", ".join(sorted(there)[:20]) or "none"
    return f"job {job_id} has no output {name[:200]!r}; its outputs: {names}"


def fields(found: Mapping[str, Source]) -> dict[str, Any]:
    """The fields of a request with these sources."""
    if not found:
        return {}
    return {"waits_for": list(found), "in_archive": in_archive(found.items())}


def in_archive(found: Iterable[tuple[str, Source]]) -> frozenset[str]:
    """The jobs among these that the bucket alone knows, and that succeeded."""
    return frozenset(job_id for job_id, one in found if one.in_archive and one.status is Status.SUCCEEDED)
