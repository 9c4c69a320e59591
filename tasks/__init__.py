"""The core of Backlot: the contract of a job, the state that processes share, and the kinds.

The life of a job, and the order to read these files in:

1. `errors`     everything that can go wrong, as one tree
2. `inputs`     how a caller names an input: a source, a text, a JSON value
3. `algorithm`  the interface all models are run through: Call, Result, Algorithm
4. `registry`   what can be asked for: models.toml and the contract of each kind
5. `job`        the request, the job, its statuses and the table of allowed moves
6. `ledger/`    the job records in Redis, and the Lua scripts that alone change them
7. `broker`     Celery's queues, which carry doorbells and nothing else
8. `storage`    the bucket: fetch an input, put an output, link to it
9. `jobs`       submit, get, wait and cancel, made of the above

`recommend/`, `transcribe/`, `caption/` and `generate/` hold one kind each: its contract in
`__init__.py` (light), its algorithms beside it (heavy, imported when their first job comes).
Nothing here imports `api` or `worker`.
"""
