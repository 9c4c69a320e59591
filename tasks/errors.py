"""Every error of Backlot, as one tree; knows nothing of HTTP, Redis or S3.

A class that sets `code` is a row of the table in docs/api.md, with its docstring as the meaning (`make docs`).

BacklotError                     code, detail, retryable: the same object in answers and records
├── CallerError                  the caller must change something
│   ├── InvalidInput             invalid_input
│   │   └── InvalidRequest       invalid_input, with one entry a field (JSON pointers)
│   ├── MalformedRequest         malformed
│   ├── InputUnreachable         input_unreachable (retryable where the other side may recover)
│   ├── UnsupportedMedia         unsupported_media
│   │   └── UnsupportedCoding    unsupported_media (a body that is packed)
│   ├── TooLarge                 too_large
│   ├── UnknownModel             unknown_model
│   ├── DependencyFailed         dependency_failed
│   ├── Unauthorized             unauthorized
│   │   └── UnknownKey           unauthorized (a key was shown, and is none of ours)
│   ├── Forbidden                forbidden
│   ├── NotFound                 not_found
│   │   └── Gone                 gone
│   ├── Conflict                 conflict
│   │   └── Replayed             conflict (a dead letter that was retried already)
│   ├── RateLimited              rate_limited
│   │   └── UploadsLimited       rate_limited (uploads that are begun)
│   ├── QuotaExceeded            quota_exceeded
│   │   ├── WaitingTooMany       quota_exceeded (jobs that wait)
│   │   ├── StoredTooMuch        quota_exceeded (bytes in the bucket)
│   │   ├── RecordsTooLarge      quota_exceeded (bytes of Redis)
│   │   ├── BudgetSpent          quota_exceeded (money of a month)
│   │   ├── SchedulesTooMany     quota_exceeded (schedules)
│   │   └── UndeliveredTooMany   quota_exceeded (webhooks and deliveries that wait)
│   └── KeyReused                idempotency_key_reused
├── OperatorError                the service or a model must be mended, or simply waited for
│   ├── NotReady                 not_ready
│   ├── LedgerFault              ledger_fault
│   ├── Overloaded               overloaded
│   ├── StorageUnavailable       storage_unavailable
│   ├── ModelFailed              model_failed
│   ├── OutOfMemory              out_of_memory
│   ├── Timeout                  timeout
│   └── WorkerLost               worker_lost
└── Stopped                      nobody's fault: the attempt was told to stop
    ├── DeadlineExceeded         deadline_exceeded
    ├── Canceled                 canceled
    └── LeaseLost                lease_lost
"""

from typing import Any

from tasks import text

DETAIL_MAX = 2000


class BacklotError(Exception):
    """The base. `detail` is a sentence for a person, in one line; `retryable` says that the same job may yet
    succeed."""

    code = "internal"
    retryable = False
    errors: list[dict[str, str]]

    def __init__(self, detail: str, *, retryable: bool | None = None) -> None:
        self.detail = text.line(detail, DETAIL_MAX)  # models and strangers' servers have their words in it
        super().__init__(self.detail)
        if retryable is not None:
            self.retryable = retryable

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail, "retryable": self.retryable}


class CallerError(BacklotError):
    """The caller must change something."""


class InvalidInput(CallerError):
    """An input, parameter or field is well-formed but cannot be used; `errors` of the answer names the fields."""

    code = "invalid_input"


class InvalidRequest(InvalidInput):
    """Fields that do not fit the contract; `errors` has one entry a field: {"pointer", "detail"}."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer'] or 'the request'}: {first['detail']}{more}")
        self.errors = errors


class MalformedRequest(CallerError):
    """The body or a header cannot be parsed."""

    code = "malformed"


class InputUnreachable(CallerError):
    """The source of an input could not be fetched; retried where the source may recover."""

    code = "input_unreachable"


class UnsupportedMedia(CallerError):
    """The bytes are of a media type that the kind does not read, or the request body is compressed."""

    code = "unsupported_media"


class UnsupportedCoding(UnsupportedMedia):
    """The request body is compressed, e.g. by gzip."""


class TooLarge(CallerError):
    """The input has more bytes, pixels, seconds or rows than allowed; the detail names the limit."""

    code = "too_large"


class UnknownModel(CallerError):
    """The kind does not exist, or has no model of that name."""

    code = "unknown_model"


class DependencyFailed(CallerError):
    """A job that is named as a source has not succeeded: it failed, expired, was canceled, or no longer exists."""

    code = "dependency_failed"


class Unauthorized(CallerError):
    """The request carries no API key, or an unknown, expired or removed one."""

    code = "unauthorized"


class UnknownKey(Unauthorized):
    """The API key that was sent is unknown, expired or removed."""


class Forbidden(CallerError):
    """The API key is known but may not do this."""

    code = "forbidden"


class NotFound(CallerError):
    """The job or resource does not exist, or belongs to another tenant."""

    code = "not_found"


class Gone(NotFound):
    """The job was erased, or its retention is over; told for 30 days, then `not_found`."""

    code = "gone"


class Conflict(CallerError):
    """The status of the job does not allow this, e.g. a cancel after the end."""

    code = "conflict"


class Replayed(Conflict):
    """The job is not a dead letter, or was replayed already."""


class RateLimited(CallerError):
    """The tenant makes more submits or uploads a minute, or has more requests under way, than allowed; `Retry-After`
    says when to ask again."""

    code = "rate_limited"
    retryable = True
    policy = "submits"
    says = "a tenant may submit {:,} jobs a minute"

    def __init__(self, per_minute: int, retry_after_s: float) -> None:
        super().__init__(self.says.format(per_minute))
        self.per_minute, self.retry_after_s = per_minute, retry_after_s


class UploadsLimited(RateLimited):
    """The tenant began more uploads than allowed in a minute."""

    policy = "uploads"
    says = "a tenant may begin {:,} uploads a minute"


class QuotaExceeded(CallerError):
    """The tenant has reached a quota: waiting jobs, stored bytes, bytes of job records, or undelivered webhooks and
    deliveries; the detail says which."""

    code = "quota_exceeded"
    retryable = True


class KeyReused(CallerError):
    """The Idempotency-Key was first used with a different request."""

    code = "idempotency_key_reused"


class SchedulesTooMany(QuotaExceeded):
    """The tenant has as many schedules as it may have."""

    def __init__(self, schedules: int, most: int) -> None:
        super().__init__(f"the tenant has {schedules} schedules and may have {most}; delete one first")


class WaitingTooMany(QuotaExceeded):
    """The tenant has the most waiting jobs that it may have."""

    def __init__(self, waiting: int, most: int) -> None:
        super().__init__(f"{waiting:,} of your jobs wait; a tenant may have {most:,} waiting")


class StoredTooMuch(QuotaExceeded):
    """The tenant's outputs and uploads have reached their quota of bytes."""

    def __init__(self, stored: int, most: int, more: int = 0) -> None:
        wanted = f", and these are {more:,} more" if more else ""
        super().__init__(
            f"you have {stored:,} bytes of outputs and uploads{wanted}; a tenant may have {most:,}; erase "
            "jobs that have ended, or let their retention pass"
        )


class RecordsTooLarge(QuotaExceeded):
    """The tenant's job records have reached their quota of Redis memory."""

    def __init__(self, held: int, most: int) -> None:
        super().__init__(
            f"the records of your jobs take {held:,} bytes; a tenant's may take {most:,}; wait until jobs "
            "have ended for an hour, or erase ended ones"
        )


class UndeliveredTooMany(QuotaExceeded):
    """The tenant has as many webhooks and deliveries undelivered as it may."""

    def __init__(self, undelivered: int, most: int) -> None:
        super().__init__(
            f"{undelivered:,} of your webhooks and deliveries are undelivered; a tenant may have {most:,}; mend their "
            "receivers and buckets, or submit without `webhook` and `output`"
        )


class BudgetSpent(QuotaExceeded):
    """The tenant has spent its budget of the month."""

    retryable = False

    def __init__(self, spent: str, most: str, currency: str, resets_on: str) -> None:
        super().__init__(
            f"your jobs have cost {spent} {currency} this month, and your budget is {most} {currency}; it begins anew "
            f"on {resets_on} (UTC)"
        )


class OperatorError(BacklotError):
    """The service or a model must be mended, or waited for."""


class NotReady(OperatorError):
    """Redis is away or cannot serve, or the keeper has not finished reconciling with it."""

    code = "not_ready"
    retryable = True


class LedgerFault(OperatorError):
    """A ledger script failed on a damaged record or argument; asking again changes nothing."""

    code = "ledger_fault"


class Overloaded(OperatorError):
    """Redis is nearly full, or the server has no room for more request bodies; running jobs continue."""

    code = "overloaded"
    retryable = True


class StorageUnavailable(OperatorError):
    """The bucket did not answer in time."""

    code = "storage_unavailable"
    retryable = True


class ModelFailed(OperatorError):
    """The algorithm raised an unexpected exception, or returned a result that breaks its contract."""

    code = "model_failed"


class OutOfMemory(OperatorError):
    """The job needed more memory than its model may use."""

    code = "out_of_memory"


class Timeout(OperatorError):
    """The attempt ran longer than `run_timeout_s`, or its model took longer to load than allowed."""

    code = "timeout"


class WorkerLost(OperatorError):
    """The process that ran the attempt died."""

    code = "worker_lost"
    retryable = True


class Stopped(BacklotError):
    """The attempt was told to stop."""


class DeadlineExceeded(Stopped):
    """The deadline (`deadline_s`) passed after the job had started."""

    code = "deadline_exceeded"


class Canceled(Stopped):
    """The caller canceled the job."""

    code = "canceled"


class LeaseLost(Stopped):
    """The job belongs to another worker now; the result of this attempt is discarded."""

    code = "lease_lost"
    retryable = True
