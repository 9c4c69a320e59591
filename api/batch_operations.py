"""The routes of batches, as the table of routes has them (operations.py)."""

from api.batch_body import BATCH_MAX_BYTES, LINES_MAX
from api.examples import BATCH
from api.operation import Operation

BATCHES = (
    Operation(
        "post",
        "/v1/batches",
        "Submit many jobs",
        "Makes a batch: a job for each line, each a request as `POST /v1/jobs` takes it as JSON, with an optional "
        "`custom_id`. The lines come as JSON lines, as the file `input` of a form, or as an upload that a JSON body "
        f"names as `input`; they are {LINES_MAX:,} at most, and an upload has {BATCH_MAX_BYTES >> 20} MiB at most. "
        "Nothing is taken before the whole body has come. A refused line stops no other, unless `on_error` is "
        "`reject`. The quotas of all lines are taken at once. The answer is the batch. With `Accept: application/jsonl`"
        " it is 200 and JSON lines, each with the `job` that the line made or the `error` that refused it. With an "
        "`Idempotency-Key` the same body may be sent again: a batch that was cut off goes on, and one that is sealed "
        "is answered as it is now. `webhook` is told when all jobs have ended.",
        {202: "Batch", 200: "BatchLine"},
        (400, 409, 413, 415, 422, 429),
        "BatchRequest",
        ("Idempotency-Key",),
        BATCH,
        lines=True,
    ),
    Operation(
        "get",
        "/v1/batches",
        "List batches",
        "Lists the tenant's batches, newest first, a page a call.",
        {200: "BatchList"},
        (422,),
    ),
    Operation(
        "get",
        "/v1/batches/{batch_id}",
        "Read a batch",
        "Answers with the batch as it is now: its lines, and how many of its jobs are in each status.",
        {200: "Batch"},
        (404,),
    ),
    Operation(
        "get",
        "/v1/batches/{batch_id}/results",
        "Read the outcome of each line",
        "Answers with JSON lines in the order of the lines, each with its job as it is now or with the error for which "
        "it has none. Results that are texts are in the job; files are links. A batch that runs may be read too.",
        {200: "BatchResult"},
        (404,),
        lines=True,
    ),
    Operation(
        "post",
        "/v1/batches/{batch_id}/cancel",
        "Cancel all jobs of a batch",
        "Cancels the jobs that wait, and asks those that run to stop. A batch whose jobs have all ended is refused "
        "with 409.",
        {202: "Batch"},
        (404, 409),
    ),
    Operation(
        "post",
        "/v1/batches/{batch_id}/webhook/replay",
        "Send a batch's webhook again",
        "Sends the message of a batch that is done again, with the same `webhook-id`, and tries for three more days.",
        {202: "Batch"},
        (404, 409),
    ),
    Operation(
        "delete",
        "/v1/batches/{batch_id}",
        "Erase a batch",
        "Erases a batch that is done, its jobs and their outputs. One that is not done is refused with 409: cancel it "
        "first.",
        {204: None},
        (404, 409),
    ),
)
