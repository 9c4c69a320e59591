"""The verb `amend`: changes a job that waits. One part of `Ledger` (verbs.py).

It sends a whole new request, and knows no rule of what may be in it.
"""

from tasks import errors
from tasks.job import Fixed
from tasks.ledger import keys
from tasks.ledger.callers import Callers
from tasks.ledger.connection import milliseconds


class Amends(Callers):
    """The verb that the API calls to change a job."""

    def amend(self, old: Fixed, new: Fixed, change: str, base: str = "", restoring: str = "") -> bool | None:
        """Replaces a waiting job's request. True where a doorbell is needed; None where another change came between.

        `change`: id of this change; asked again with it, nothing more happens. `base`: the record's `amended`, with
        which `old` was read. `restoring`: the token of a keeper that restores. Errors: NotFound; Conflict where the
        job does not wait; Overloaded, RecordsTooLarge.
        """
        start = "" if new.start_ms == old.start_ms else new.start_ms or 0
        match self._run(
            "amend",
            [keys.job(new.id)],
            [
                new.id,
                new.tenant,
                change,
                base,
                new.as_record(),
                new.priority,
                start,
                milliseconds(new.queue_ttl_s),
                milliseconds(new.queue_ttl_s) - milliseconds(old.queue_ttl_s),
                "" if new.deadline_s is None else milliseconds(new.deadline_s),
                milliseconds(new.run_timeout_s),
                milliseconds(new.retention_s),
                self.settings.max_record_bytes,
                restoring,
            ],
            list,
        ):
            case [1, bell]:
                return bool(bell)
            case [0, status]:
                raise errors.Conflict(
                    f"job {new.id} is {status}; only a job that is queued or scheduled can be changed"
                )
            case [2]:
                raise errors.NotFound(f"there is no job {new.id}")
            case [3]:
                return None
            case [4]:
                raise errors.Conflict(f"job {new.id} has started before; its start_at and queue_ttl_s are over")
            case refused:
                raise self._refusal(refused)
