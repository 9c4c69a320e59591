"""Changes a job that waits, by a JSON merge patch (RFC 7396). It knows no script and no HTTP."""

from collections.abc import Callable
from typing import Any

from pydantic import JsonValue

from tasks.broker import Broker
from tasks.errors import Conflict, InvalidRequest
from tasks.ids import new_id, now_ms
from tasks.job import Fixed, Job, Status
from tasks.ledger import Ledger, Record
from tasks.reduced import request_of
from tasks.registry import Registry
from tasks.request import check_free, check_kept
from tasks.request_shapes import AmendRequest, JobRequest
from tasks.service.again import merged
from tasks.service.clocks import clocks_of
from tasks.settings import Settings

CLOCKS = ("queue_ttl_s", "run_timeout_s", "deadline_s", "retention_s")
TRIES = 5
"""Tries of a change between whose reading and writing others come."""


class Amends:
    """The changes of one service."""

    def __init__(self, settings: Settings, registry: Registry, ledger: Ledger, broker: Broker) -> None:
        self.settings, self.registry, self.ledger, self.broker = settings, registry, ledger, broker

    def amend(self, job_id: str, read: Callable[[], Record], patch: AmendRequest) -> None:
        """Changes the job whose record `read` gives: of a job that has ended, its status at least.

        Errors: Conflict where the job does not wait; InvalidRequest, TooLarge, UnknownModel for the patch; Overloaded,
        RecordsTooLarge; those of `read`.
        """
        for _ in range(TRIES):
            record = read()
            if record["status"] not in (Status.SCHEDULED, Status.QUEUED):
                raise Conflict(
                    f"job {job_id} is {record['status']}; only a job that is queued or scheduled can be changed"
                )
            old = request_of(record, job_id)
            new = self.amended(old, record, patch)
            if new == old:
                return
            Job.of(new, record).model_dump_json()  # before it is recorded: one that cannot be shown would break lists
            bell = self.ledger.amend(old, new, new_id("change"), record.get("amended", ""))
            if bell:
                self.broker.ring(new.queue)
            if bell is not None:
                return
        raise Conflict(f"job {job_id} is being changed by several requests at once; ask again", retryable=True)

    def amended(self, old: Fixed, record: Record, patch: AmendRequest) -> Fixed:
        """The request as the patch makes it, after all checks of a submit. Errors: as `amend`."""
        given = patch.model_fields_set
        update: dict[str, Any] = {}
        if "priority" in given:
            update["priority"] = patch.priority or 0
        if "metadata" in given:
            update["metadata"] = _metadata(old, patch)
        if given & {"start_at", *CLOCKS}:
            update |= self._clocks(old, record, patch)
        return old.model_copy(update=update)

    def _clocks(self, old: Fixed, record: Record, patch: AmendRequest) -> dict[str, Any]:
        model = self.registry.model(old.kind, old.model)
        given, asked = patch.model_fields_set, patch.model_dump(include={"start_at", *CLOCKS})
        unasked = {"max_attempts": None, "retry": None}
        request = JobRequest.model_construct(**(asked | unasked | {"deadline_s": None}))
        found = {**clocks_of(request, model, self.settings), "deadline_s": patch.deadline_s}
        update = {name: found[name] for name in CLOCKS if name in given}
        if "start_at" in given:
            update["start_ms"] = found["start_ms"]
        new, created_ms = old.model_copy(update=update), float(record["created_ms"])
        if new.deadline_s is not None and {"start_at", "deadline_s"} & given:
            end_ms = created_ms + new.deadline_s * 1000
            _refuse_if(end_ms <= now_ms(), "deadline_s", "the deadline, counted from the submit, would be over")
            _refuse_if(end_ms <= (new.start_ms or 0), "deadline_s", "the deadline is over before start_at")
        if "queue_ttl_s" in given and record["status"] == Status.QUEUED and new.start_ms == old.start_ms:
            end_ms = float(record["start_by_ms"]) + (new.queue_ttl_s - old.queue_ttl_s) * 1000
            _refuse_if(end_ms <= now_ms(), "queue_ttl_s", "the job has been in the queue for longer")
        return update


def _metadata(old: Fixed, patch: AmendRequest) -> dict[str, JsonValue]:
    """Errors: InvalidRequest, TooLarge."""
    if patch.metadata is None:
        return {}
    check_kept(patch.metadata)
    made: Any = merged(old.metadata, patch.metadata)
    check_free(old.params, made)
    return dict(made)


def _refuse_if(refused: bool, name: str, why: str) -> None:
    if refused:
        raise InvalidRequest([{"pointer": f"/{name}", "detail": why}])
