"""The table of the API's routes: bodies, answers, refusals, and a description for callers. Parameters: parameters.py.

openapi.py makes the document from it, and strict.py refuses requests by it. Knows no schema's content and no handler;
a test compares the table with the app's own routes.
"""

from api.batch_operations import BATCHES
from api.examples import AMEND, REPLAY, RETRY, SUBMIT, UPLOAD
from api.operation import Operation
from api.parameters import Route
from api.schedule_operations import SCHEDULES
from api.webhook_operations import WEBHOOKS

PAUSING = (400, 403, 404, 409, 413, 415, 422)
RUNNING_GO_ON = "Submits are still accepted, jobs that wait stay queued, and running jobs go on."

OPERATIONS = (
    Operation(
        "post",
        "/v1/jobs",
        "Submit a job",
        "Accepts a job and answers at once with its id. The body is JSON, or a multipart form that carries files. Poll "
        "`GET /v1/jobs/{job_id}` until `done` is true, or send `Prefer: wait=N` to have this answer held. An accepted "
        "job ends in exactly one final status.",
        {202: "Job"},
        (400, 409, 413, 415, 422, 429),
        "JobRequest",
        ("Prefer", "Idempotency-Key"),
        SUBMIT,
    ),
    *BATCHES,
    *SCHEDULES,
    Operation(
        "get",
        "/v1/jobs",
        "List jobs",
        "Lists the tenant's jobs, newest first, a page a call. `metadata.<key>=<value>` selects by metadata, up to "
        "5 keys; a value that is no string is compared as JSON.",
        {200: "JobList"},
        (422,),
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}",
        "Read a job, or wait for it",
        "Answers with the job as it is now. With `Prefer: wait=N` the answer is held until the job is done.",
        {200: "Job"},
        (404, 410),
        None,
        ("Prefer",),
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}/events",
        "Listen to a job",
        "Answers with server-sent events until the job is done. The first, `snapshot`, has the job as it is; then come "
        "`status`, `progress`, `text` and `log` when something has changed, and last `done` with the job at its end. "
        "The events tell the newest state: of changes that follow one another at once, some may be left out. `text` "
        "and `log` go on behind their offset; the text of another attempt begins with `reset`, its log at offset 0. A "
        "comment is sent after 15 s without an event. A stream that ends without `done` is opened again by its "
        "listener, and begins with a snapshot. The answer is `text/event-stream` whatever `Accept` says.",
        {200: None},
        (404, 410, 429),
        events={
            "snapshot": "Snapshot",
            "status": "StatusChange",
            "progress": "Progress",
            "text": "TextSoFar",
            "log": "LogSoFar",
            "reset": "TextReset",
            "done": "Job",
        },
    ),
    Operation(
        "get",
        "/v1/events",
        "Listen to all jobs",
        "Answers with server-sent events: `status` at each change of status of the tenant's jobs. Each has an id; a "
        "request with the header `Last-Event-ID` gets the changes since then first, or `reset` where they are not "
        "kept any more (15 minutes, or 300,000 changes of all tenants). The stream never ends by itself; one that the "
        "server ends is opened again by its listener, with the id that it has seen last. The answer is "
        "`text/event-stream` whatever `Accept` says.",
        {200: None},
        (429,),
        None,
        ("Last-Event-ID",),
        events={"status": "Change", "reset": "Reset"},
    ),
    Operation(
        "patch",
        "/v1/jobs/{job_id}",
        "Change a job that waits",
        "Changes priority, start time, clocks or metadata of a job that is `queued` or `scheduled`. The body is a JSON "
        "merge patch (RFC 7396). A queued job keeps the place of its arrival, from which a new priority counts; one "
        "that is to start later gets a new place then. A job that runs or has ended is refused with 409.",
        {200: "Job"},
        (400, 404, 409, 410, 413, 415, 422, 429),
        "AmendRequest",
        (),
        AMEND,
    ),
    Operation(
        "delete",
        "/v1/jobs/{job_id}",
        "Erase a job",
        "Erases the record and the outputs of a job that has ended. A job that has not ended is refused with 409: "
        "cancel it first.",
        {204: None},
        (404, 409, 410),
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/cancel",
        "Cancel a job",
        "Cancels a waiting job at once, and asks a running one to stop (`canceling`). A running job may still succeed. "
        "A job that has ended is refused with 409.",
        {202: "Job"},
        (404, 409, 410),
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/retry",
        "Retry a job",
        "Submits the request of an ended job again, as a new job whose `retry_of` names the old one. A body is a JSON "
        "merge patch (RFC 7396) of the request; `changed` of the new job has the difference.",
        {202: "Job"},
        (400, 404, 409, 410, 413, 415, 422, 429),
        "RetryRequest",
        ("Prefer", "Idempotency-Key"),
        RETRY,
        optional=True,
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/webhook/replay",
        "Send a job's webhook again",
        "Sends `completed` of an ended job again, with the same `webhook-id`, and tries for another three days. A "
        "webhook that waits for its next try is tried now.",
        {202: "Job"},
        (404, 409, 410),
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/delivery/replay",
        "Deliver a job's outputs again",
        "Copies the outputs of a succeeded job into your own bucket again, and tries for another three days. A "
        "delivery that waits for its next try is tried now.",
        {202: "Job"},
        (404, 409, 410),
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}/outputs/{name}",
        "Download an output",
        "Redirects to a link, valid for a short time, from which anybody can download the output without a key.",
        {307: None},
        (404, 410),
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}/logs",
        "Read a job's log",
        "Answers with what the model wrote in an attempt: standard output and error, warnings, the traceback of a "
        "failure; of an attempt that runs, whole lines so far, 64 KiB at most. Of a long log the first and the last "
        "128 KiB are kept, with a line that tells how much is left out. Secrets and folders of the server are taken "
        "out. Where nothing was written the text is empty.",
        {200: None},
        (404, 410, 422),
        text=True,
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}/explanation",
        "Explain a job; operators only",
        "Tells in sentences how a job stands and what it waits for: pauses, limits, workers, its place in line.",
        {200: "Explanation"},
        (403, 404),
    ),
    Operation(
        "get",
        "/v1/dead-letters",
        "List dead letters",
        "Lists the jobs that failed after their last allowed attempt for a retryable reason, the latest end first.",
        {200: "JobList"},
        (422,),
    ),
    Operation(
        "delete",
        "/v1/dead-letters",
        "Erase dead letters",
        "Erases the selected dead letters and their files, a page a call. Without a filter it selects all.",
        {200: "Purge"},
        (422,),
    ),
    Operation(
        "post",
        "/v1/dead-letters/replay",
        "Replay dead letters",
        "Submits the request of each selected dead letter again, as a new job, a page a call. Without a filter it "
        "selects all. `patch` in a body is a JSON merge patch (RFC 7396) of each request. A dead letter that is "
        "refused alone stays one.",
        {202: "Replay"},
        (400, 413, 415, 422, 429),
        "ReplayRequest",
        ("Idempotency-Key",),
        REPLAY,
        optional=True,
    ),
    Operation(
        "post",
        "/v1/uploads",
        "Create an upload",
        "Answers with a signed URL to which a file too large for a form can be sent by PUT. A job then names the "
        "upload's `source` as an input.",
        {201: "Upload"},
        (400, 413, 415, 422, 429),
        "UploadRequest",
        (),
        UPLOAD,
    ),
    *WEBHOOKS,
    Operation("get", "/v1/models", "List models", "Lists the models that a job can name.", {200: "ModelList"}),
    Operation(
        "get",
        "/v1/models/{kind}/{name}",
        "Read a model",
        "Answers with a model's limits and the JSON Schemas of its inputs, params and result.",
        {200: "ModelDetail"},
        (404,),
    ),
    Operation(
        "get",
        "/v1/limits",
        "Read the limits",
        "Answers with the tenant's rates and quotas, what is left of each, and the bounds of requests and jobs.",
        {200: "Limits"},
    ),
    Operation(
        "get",
        "/v1/usage",
        "Read the usage",
        "Answers with the sums of the jobs that ended on these days: jobs by status, attempts, seconds, tokens, sound, "
        "pictures and bytes, by group. An operator reads all tenants, or the one that it names. Usage is kept for the "
        "present month and the three before it.",
        {200: "UsageReport"},
        (403, 422),
    ),
    Operation(
        "get",
        "/v1/pools",
        "List worker pools; operators only",
        "Lists all pools with their load and workers, and the state of keepers, pauses and unserved models.",
        {200: "PoolList"},
        (403,),
    ),
    Operation(
        "get",
        "/v1/pools/{name}",
        "Read a worker pool; operators only",
        "Answers with the load of one pool. An autoscaler scales the pool to `wanted` slots.",
        {200: "Pool"},
        (403, 404),
    ),
    Operation(
        "get",
        "/v1/pauses",
        "List pauses; operators only",
        "Lists the pools, models and tenants whose jobs are not started.",
        {200: "PauseList"},
        (403,),
    ),
    Operation(
        "put",
        "/v1/pauses/pool/{name}",
        "Pause a pool; operators only",
        f"Starts no more jobs of a pool. {RUNNING_GO_ON}",
        {200: "PauseList"},
        PAUSING,
        "PauseRequest",
    ),
    Operation(
        "put",
        "/v1/pauses/model/{kind}/{name}",
        "Pause a model; operators only",
        f"Starts no more jobs of a model. {RUNNING_GO_ON}",
        {200: "PauseList"},
        PAUSING,
        "PauseRequest",
    ),
    Operation(
        "put",
        "/v1/pauses/tenant/{tenant}",
        "Pause a tenant; operators only",
        f"Starts no more jobs of a tenant. {RUNNING_GO_ON}",
        {200: "PauseList"},
        PAUSING,
        "PauseRequest",
    ),
    Operation(
        "delete",
        "/v1/pauses/pool/{name}",
        "Resume a pool; operators only",
        "Ends the pause of a pool; its waiting jobs start again.",
        {200: "PauseList"},
        (403, 404),
    ),
    Operation(
        "delete",
        "/v1/pauses/model/{kind}/{name}",
        "Resume a model; operators only",
        "Ends the pause of a model; its waiting jobs start again.",
        {200: "PauseList"},
        (403, 404),
    ),
    Operation(
        "delete",
        "/v1/pauses/tenant/{tenant}",
        "Resume a tenant; operators only",
        "Ends the pause of a tenant; its waiting jobs start again.",
        {200: "PauseList"},
        (403, 404),
    ),
    Operation(
        "get",
        "/v1/keys",
        "List API keys; operators only",
        "Lists all API keys by the beginning of their hashes, with the last use of each. Keys are made and revoked by "
        "`backlot keys`.",
        {200: "KeyList"},
        (403,),
    ),
    Operation(
        "delete",
        "/v1/tenants/{tenant}",
        "Erase a tenant; operators only",
        "Requests the erasure of all that a tenant has: jobs, outputs, uploads, fitted models, lines of the journal. A "
        "tenant that still has API keys is refused with 409.",
        {202: "Erasure"},
        (403, 409, 422),
    ),
    Operation(
        "get",
        "/v1/tenants/{tenant}/erasure",
        "Read the receipt of an erasure; operators only",
        "Answers with the progress or the receipt of the tenant's newest erasure.",
        {200: "Erasure"},
        (403, 404, 422),
    ),
    Operation(
        "get", "/healthz", "Check that the process is alive", "Answers without Redis or the bucket.", {200: "Health"}
    ),
    Operation(
        "get",
        "/readyz",
        "Check that the process can work",
        "Checks Redis and the bucket. Without Redis it answers 503; without the bucket the status is `degraded`.",
        {200: "Health"},
        (503,),
    ),
)

BY_ROUTE: dict[Route, Operation] = {(operation.method, operation.path): operation for operation in OPERATIONS}
OF_EVERY_ROUTE = (400, 401, 403, 415, 422, 503)
"""Refusals of every route under /v1: unread bodies and queries, the key, a compressed body, Redis being away."""
TAGS = {
    "events": "Listen to the changes of all jobs",
    "jobs": "Submit, read, cancel, retry and erase jobs",
    "schedules": "Jobs that are made again and again",
    "batches": "Submit many jobs in one request, and follow them together",
    "dead-letters": "Jobs that failed after their last attempt for a reason that may have passed",
    "uploads": "Files too large for a form",
    "webhooks": "Secrets that sign webhooks",
    "models": "Models that jobs can name, and their contracts",
    "limits": "Rates, quotas and bounds, and what is left of them",
    "usage": "Sums of the jobs that have ended, by day, key, kind, model and metadata",
    "pools": "Groups of worker processes; operators only",
    "pauses": "Pools, models and tenants whose jobs are not started; operators only",
    "keys": "API keys; operators only",
    "tenants": "Erasure of a tenant; operators only",
    "service": "Health of this process; no key needed",
}
