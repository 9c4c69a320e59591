"""Every error of Backlot, as one tree; knows nothing of HTTP, Redis or S3.

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
│   │   └── RecordsTooLarge      quota_exceeded (bytes of Redis)
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

from tasks import text

DETAIL_MAX = 2000


class BacklotError(Exception):
    """The base. `detail` is a sentence for a person, in one line; `retryable` says whether the same job may yet
    succeed."""

    code = "internal"
    retryable = False

    def __init__(self, detail: str, *, retryable: bool | None = None) -> None:
        self.detail = text.line(detail, DETAIL_MAX)  # models and strangers' servers have their words in it
        super().__init__(self.detail)
        if retryable is not None:
            self.retryable = retryable

    def as_dict(self) -> dict:
        return {"code": self.code, "detail": self.detail, "retryable": self.retryable}


class CallerError(BacklotError):
    """The caller must change something."""


class InvalidInput(CallerError):
    """An input or a parameter that is well-formed but cannot be used."""

    code = "invalid_input"


class InvalidRequest(InvalidInput):
    """Fields that do not fit the contract; `errors` has one entry a field: {"pointer", "detail"}."""

    def __init__(self, errors: list[dict]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer'] or 'the request'}: {first['detail']}{more}")
        self.errors = errors


class MalformedRequest(CallerError):
    """A body or a header that cannot be read at all."""

    code = "malformed"


class InputUnreachable(CallerError):
    """An input's source that could not be fetched."""

    code = "input_unreachable"


class UnsupportedMedia(CallerError):
    """Bytes that are not of a media type this kind reads."""

    code = "unsupported_media"


class UnsupportedCoding(UnsupportedMedia):
    """A request's body that is packed, such as by gzip."""


class TooLarge(CallerError):
    """More bytes, pixels, seconds or rows than allowed; the detail names the limit."""

    code = "too_large"


class UnknownModel(CallerError):
    """No such kind, or no such model of that kind."""

    code = "unknown_model"


class Unauthorized(CallerError):
    """No key, or one that is not known."""

    code = "unauthorized"


class UnknownKey(Unauthorized):
    """A key that was shown and is none of ours, or one no longer."""


class Forbidden(CallerError):
    """A known key that may not do this."""

    code = "forbidden"


class NotFound(CallerError):
    """Nothing of that name that this caller may see."""

    code = "not_found"


class Gone(NotFound):
    """A job that was erased, or whose retention is over."""

    code = "gone"


class Conflict(CallerError):
    """The job is in a status that does not allow this."""

    code = "conflict"


class Replayed(Conflict):
    """A job that is no dead letter, or is one no longer."""


class RateLimited(CallerError):
    """More submits a minute than a tenant may make; the next may be made after `retry_after_s`. `policy` names what is
    limited."""

    code = "rate_limited"
    retryable = True
    policy = "submits"
    says = "a tenant may submit {:,} jobs a minute"

    def __init__(self, per_minute: int, retry_after_s: float) -> None:
        super().__init__(self.says.format(per_minute))
        self.per_minute, self.retry_after_s = per_minute, retry_after_s


class UploadsLimited(RateLimited):
    """More uploads a minute than a tenant may begin."""

    policy = "uploads"
    says = "a tenant may begin {:,} uploads a minute"


class QuotaExceeded(CallerError):
    """The tenant has all that it may have; some of it must end first."""

    code = "quota_exceeded"
    retryable = True


class KeyReused(CallerError):
    """An Idempotency-Key that was first used with another request."""

    code = "idempotency_key_reused"


class WaitingTooMany(QuotaExceeded):
    """As many of the tenant's jobs wait as may."""

    def __init__(self, waiting: int, most: int) -> None:
        super().__init__(f"{waiting:,} of your jobs wait; a tenant may have {most:,} waiting")


class StoredTooMuch(QuotaExceeded):
    """Of outputs and uploads the tenant has all the bytes that it may have."""

    def __init__(self, stored: int, most: int, more: int = 0) -> None:
        wanted = f", and these are {more:,} more" if more else ""
        super().__init__(
            f"you have {stored:,} bytes of outputs and uploads{wanted}; a tenant may have {most:,}; erase "
            "jobs that have ended, or let their retention pass"
        )


class RecordsTooLarge(QuotaExceeded):
    """The tenant's job records take all of Redis' memory that they may take."""

    def __init__(self, held: int, most: int) -> None:
        super().__init__(
            f"the records of your jobs take {held:,} bytes; a tenant's may take {most:,}; wait until jobs "
            "have ended for an hour, or erase ended ones"
        )


class OperatorError(BacklotError):
    """The service or a model must be mended, or waited for."""


class NotReady(OperatorError):
    """Redis is away or cannot serve, or the keeper has not yet set the epoch."""

    code = "not_ready"
    retryable = True


class LedgerFault(OperatorError):
    """A ledger script failed: a record or an argument is not as it should be, and asking again changes nothing."""

    code = "ledger_fault"


class Overloaded(OperatorError):
    """Redis is nearly full; running jobs go on, new ones are refused."""

    code = "overloaded"
    retryable = True


class StorageUnavailable(OperatorError):
    """The bucket did not answer in time."""

    code = "storage_unavailable"
    retryable = True


class ModelFailed(OperatorError):
    """The algorithm raised something that is none of these errors."""

    code = "model_failed"


class OutOfMemory(OperatorError):
    """The job needed more memory than its model may use."""

    code = "out_of_memory"


class Timeout(OperatorError):
    """The attempt ran longer than `run_timeout_s`, or its model loaded longer than allowed."""

    code = "timeout"


class WorkerLost(OperatorError):
    """The process that ran the attempt died."""

    code = "worker_lost"
    retryable = True


class Stopped(BacklotError):
    """The attempt was told to stop."""


class DeadlineExceeded(Stopped):
    """`deadline_s` passed after the job had started."""

    code = "deadline_exceeded"


class Canceled(Stopped):
    """A caller canceled the job."""

    code = "canceled"


class LeaseLost(Stopped):
    """Another worker owns this job now; what this one made is thrown away."""

    code = "lease_lost"
    retryable = True
