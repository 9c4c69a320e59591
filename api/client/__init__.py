"""The HTTP client: submits jobs, waits for them and downloads their outputs. Knows the API's routes, and nothing of the
service behind them. Retries are sender.py's, files are files.py's.

    from api.client import Client
    job = Client().submit("transcribe", {"audio": Path("talk.mp3")}, wait=60)

Every submit carries an Idempotency-Key, so that a retry never makes a second job.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from api.client.events import Stream
from api.client.files import form_texts, named_paths, opened, replaced, save
from api.client.sender import LOCAL_URL, ApiError, Sender, timeout

__all__ = ["ApiError", "Client", "Job"]

Job = dict[str, Any]
FORM_MAX_BYTES = 50 * 1024 * 1024
"""Bytes of all files in one form; larger files are uploaded to the bucket."""
HOLD_S = 30
"""Seconds for which one request of `wait` asks the API to hold it."""
WATCH_S = 2
"""The same where the caller wants to hear of changes."""
LOOK_PAUSE_S = 1
"""Seconds between two requests of `wait` where the API holds none."""
TRANSFER_S = 300
"""Seconds without a byte while files are sent."""


class Client:
    """One API and one key. Jobs are dicts in the shape of /openapi.json. Every method raises ApiError."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        on_pause: Callable[[ApiError, float], None] = lambda error, seconds: None,
    ) -> None:
        """Defaults: BACKLOT_URL, else port 8080 of this machine; BACKLOT_API_KEY. `on_pause(error, seconds)` is called
        before the wait for each retry. Errors: ValueError for a malformed URL or key."""
        url = url or os.environ.get("BACKLOT_URL") or LOCAL_URL
        key = (key or os.environ.get("BACKLOT_API_KEY", "")).strip()
        self._sender = Sender(url, key, transport, on_pause)
        self.url = self._sender.url

    def submit(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
        **rest: Any,
    ) -> Job:
        """Submits a job. A pathlib.Path among the inputs is a file to send; `rest` are the API's other fields.

        With `wait` (seconds) the job is returned when it is done, or as it is after that time. Errors: also OSError
        for a file that cannot be read.
        """
        fields = {"kind": kind, "model": model, "params": params, **rest}
        fields = {name: value for name, value in fields.items() if value is not None}
        inputs = self._with_large_files_uploaded(inputs)
        headers = {"Idempotency-Key": f'"{idempotency_key or secrets.token_hex(16)}"'}
        files = named_paths(inputs)
        if files:
            job = self._submit_form(form_texts({**fields, **inputs}), files, headers)
        else:
            job = self._sender.document("POST", "/v1/jobs", json={**fields, "input": inputs}, headers=headers)
        return self.wait(job["id"], timeout=wait) if wait else job

    def submit_batch(
        self,
        lines: bytes | Iterable[Mapping[str, Any]],
        idempotency_key: str | None = None,
        on_error: str = "skip",
        defaults: Mapping[str, Any] | None = None,
        webhook: str | None = None,
    ) -> dict[str, Any]:
        """Submits many jobs at once; gives the batch. `lines`: requests as the API takes them, or JSON lines as they
        stand; `defaults`: fields that lines may leave out; `webhook`: a URL that is told when all its jobs have ended.

        A refused line stops no other and is among the batch's `errors`; with `on_error="reject"` all are refused.
        """
        body = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        key = idempotency_key or secrets.token_hex(16)
        headers = {"Content-Type": "application/jsonl", "Idempotency-Key": f'"{key}"'}
        query = {"on_error": on_error} | ({"defaults": json.dumps(defaults)} if defaults else {})
        query |= {"webhook": webhook} if webhook else {}
        answer = self._sender.retried(
            lambda: self._sender.http.post(
                "/v1/batches", content=body, params=query, headers=headers, timeout=timeout(TRANSFER_S)
            )
        )
        return self._sender.read(answer)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """The batch as it is now."""
        return self._sender.document("GET", f"/v1/batches/{batch_id}")

    def batches(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Batches, newest first, of all pages. Filters: tenant; `limit` is the size of a page."""
        for page in self._pages("GET", "/v1/batches", filters):
            yield from page["data"]

    def batch_results(self, batch_id: str, after: int = 0) -> list[dict[str, Any]]:
        """The lines of a batch behind the line `after`, each with its `job` as it is now or its `error`."""
        return self._sender.lines(
            self._sender.request("GET", f"/v1/batches/{batch_id}/results", params={"after": after})
        )

    def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Cancels the jobs of a batch that wait, and asks running ones to stop."""
        return self._sender.document("POST", f"/v1/batches/{batch_id}/cancel")

    def delete_batch(self, batch_id: str) -> None:
        """Erases a batch that is done, its jobs and their outputs."""
        self._sender.request("DELETE", f"/v1/batches/{batch_id}")

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return self._sender.document("GET", f"/v1/jobs/{job_id}")

    def wait(self, job_id: str, timeout: float | None = None, on_change: Callable[[Job], None] | None = None) -> Job:
        """The job when it is done, or as it is after `timeout` seconds. `on_change` is called with each new state."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        seen = None
        while True:
            left = max(0, min(WATCH_S if on_change else HOLD_S, end - time.monotonic()))
            asked = time.monotonic()
            job = self._sender.document("GET", f"/v1/jobs/{job_id}", headers={"Prefer": f"wait={round(left)}"})
            state = tuple(job[name] for name in ("status", "phase", "progress", "message", "queue_position"))
            if on_change and state != seen:
                on_change(job)
            seen = state
            if job["done"] or time.monotonic() >= end:
                return job
            time.sleep(max(0, min(LOOK_PAUSE_S, left) - (time.monotonic() - asked)))

    def events(self, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a job until it is done: each its name (`snapshot`, `status`, `progress`, `text`, `log`, `done`)
        and its data. A stream that ends before is opened again, and begins with a snapshot."""
        while True:
            stream, told = Stream(), self._sender.stream(f"/v1/jobs/{job_id}/events")
            with contextlib.closing(told):
                for name, data in stream.events(told):
                    yield name, json.loads(data)
                    if name == "done":
                        return
            time.sleep(stream.retry_s)

    def logs(self, job_id: str, attempt: int | None = None) -> str:
        """The log of an attempt of a job, of its last by default: what its model wrote."""
        query = {"attempt": attempt} if attempt is not None else None
        return self._sender.request("GET", f"/v1/jobs/{job_id}/logs", params=query).text

    def follow_logs(self, job_id: str) -> Iterator[str]:
        """The log of a job as it is written, in pieces, until the job is done. Another attempt's begins anew.

        The last piece is what the kept log has beyond the pieces before it; a log of which only a part was told comes
        whole.
        """
        attempt, told = 0, ""
        for name, data in self.events(job_id):
            piece = data.get("log") if name == "snapshot" else data if name == "log" else None
            if piece:
                if piece["attempt"] != attempt:
                    attempt, told = piece["attempt"], ""
                new = piece["text"].encode()[max(0, len(told.encode()) - piece["offset"]) :].decode()
                told += new
                yield new
        whole = self.logs(job_id)
        yield whole.removeprefix(told)

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop. It may still succeed."""
        return self._sender.document("POST", f"/v1/jobs/{job_id}/cancel")

    def amend(self, job_id: str, **changes: Any) -> Job:
        """Changes a job that waits. `changes`: a JSON merge patch of priority, metadata, start_at and the clocks."""
        return self._sender.document("PATCH", f"/v1/jobs/{job_id}", json=changes)

    def create_schedule(self, cron: str, job: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        """Makes a schedule: `job` is submitted whenever `cron` says. `rest`: time_zone, name, missed, paused."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._sender.document("POST", "/v1/schedules", json={"cron": cron, "job": job, **rest}, headers=headers)

    def schedule(self, schedule_id: str) -> dict[str, Any]:
        """The schedule, with its next runs and its last one."""
        return self._sender.document("GET", f"/v1/schedules/{schedule_id}")

    def schedules(self) -> list[dict[str, Any]]:
        """All schedules, newest first."""
        found: list[dict[str, Any]] = self._sender.document("GET", "/v1/schedules")["data"]
        return found

    def change_schedule(self, schedule_id: str, **changes: Any) -> dict[str, Any]:
        """Changes a schedule by a JSON merge patch; `paused=True` pauses it."""
        return self._sender.document("PATCH", f"/v1/schedules/{schedule_id}", json=changes)

    def delete_schedule(self, schedule_id: str) -> None:
        """Deletes a schedule; the jobs that it has made stay."""
        self._sender.request("DELETE", f"/v1/schedules/{schedule_id}")

    def retry(self, job_id: str, **changes: Any) -> Job:
        """Submits the request of an ended job again, as a new job. `changes`: a JSON merge patch of the request, such
        as `params={"seed": 8}`."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._sender.document("POST", f"/v1/jobs/{job_id}/retry", json=changes, headers=headers)

    def delete(self, job_id: str) -> None:
        """Erases an ended job and its outputs."""
        self._sender.request("DELETE", f"/v1/jobs/{job_id}")

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """Jobs, newest first, of all pages. Filters: status, kind, model, metadata (a dict), created_after,
        created_before, tenant; `limit` is the size of a page."""
        named = filters.pop("metadata", None) or {}
        told = {
            f"metadata.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in named.items()
        }
        for page in self._pages("GET", "/v1/jobs", {**filters, **told}):
            yield from page["data"]

    def dead_letters(self, **filters: Any) -> Iterator[Job]:
        """Dead letters, the latest end first: jobs whose last attempt failed with a retryable error. Filters: kind,
        model, error_code, older_than_s, tenant."""
        for page in self._pages("GET", "/v1/dead-letters", filters):
            yield from page["data"]

    def replay_dead_letters(self, **filters: Any) -> Iterator[Job]:
        """Submits each dead letter's request again; gives the new jobs as they are made. A dead letter that the API
        refuses alone, such as one of a removed model, stays. A rate limit is waited for, then raised."""
        for page in self._pages("POST", "/v1/dead-letters/replay", filters):
            yield from page["data"]

    def purge_dead_letters(self, **filters: Any) -> Iterator[str]:
        """Erases each dead letter and its files; gives their ids."""
        for page in self._pages("DELETE", "/v1/dead-letters", filters):
            yield from (erased["id"] for erased in page["data"])

    def limits(self, tenant: str | None = None) -> dict[str, Any]:
        """Rates and quotas, what is left of each, and the bounds of requests and jobs. `tenant`: another's, for
        operators."""
        return self._sender.document("GET", "/v1/limits", params={"tenant": tenant} if tenant else None)

    def usage(
        self, first: str | None = None, last: str | None = None, group_by: str = "", tenant: str | None = None
    ) -> dict[str, Any]:
        """Sums of the jobs that ended from the day `first` to the day `last` (YYYY-MM-DD, UTC), by group: names such as
        'day,model'. An operator reads all tenants, or the one named."""
        query = {"from": first, "to": last, "group_by": group_by or None, "tenant": tenant}
        given = {name: value for name, value in query.items() if value is not None}
        return self._sender.document("GET", "/v1/usage", params=given or None)

    def api_keys(self) -> list[dict[str, Any]]:
        """All API keys by the beginning of their hashes, each with its last use; for operators."""
        return self._sender.rows("GET", "/v1/keys")

    def explain(self, job_id: str, tenant: str | None = None) -> dict[str, Any]:
        """The state of a job and the causes of its wait, in sentences; for operators. `tenant`: the job's tenant, where
        Redis does not know the job."""
        query = {"tenant": tenant} if tenant else None
        return self._sender.document("GET", f"/v1/jobs/{job_id}/explanation", params=query)

    def pauses(self) -> list[dict[str, Any]]:
        """All pauses and their reasons; for operators."""
        return self._sender.rows("GET", "/v1/pauses")

    def pause(self, what: str, reason: str = "") -> list[dict[str, Any]]:
        """Starts no more jobs of `pool/<name>`, `model/<kind>/<name>` or `tenant/<name>`; running jobs go on. Gives all
        pauses. For operators."""
        return self._sender.rows("PUT", f"/v1/pauses/{what}", json={"reason": reason})

    def resume(self, what: str) -> list[dict[str, Any]]:
        """Ends a pause. Gives all pauses. For operators."""
        return self._sender.rows("DELETE", f"/v1/pauses/{what}")

    def erase_tenant(self, tenant: str) -> dict[str, Any]:
        """Requests the erasure of a tenant without keys; gives its receipt. For operators."""
        return self._sender.document("DELETE", f"/v1/tenants/{tenant}")

    def erasure(self, tenant: str) -> dict[str, Any]:
        """The receipt of a tenant's newest erasure; for operators."""
        return self._sender.document("GET", f"/v1/tenants/{tenant}/erasure")

    def models(self) -> list[dict[str, Any]]:
        """All models that jobs can name."""
        return self._sender.rows("GET", "/v1/models")

    def model(self, kind: str, name: str) -> dict[str, Any]:
        """One model with the JSON Schemas of its inputs, params and result."""
        return self._sender.document("GET", f"/v1/models/{kind}/{name}")

    def download(self, job_id: str, name: str, target: Path) -> Path:
        """Saves an output as `target`, or under its name in the folder `target`; gives the file's path. Errors: also
        OSError. Nothing is saved unless the SHA-256 is the output's."""
        known = next((output for output in self.get(job_id)["outputs"] if output["name"] == name), None)
        if known is None:
            raise ApiError(404, {"code": "not_found", "detail": f"job {job_id} has no output {name!r}"})
        target = target / Path(name).name if target.is_dir() else target
        part = target.with_name(target.name + ".part")
        path = known["url"].removeprefix(httpx.URL(self.url).path.rstrip("/"))  # a proxy's prefix, in both
        link = self._sender.request("GET", path, follow_redirects=False).headers["Location"]
        try:
            save(link, part, known["sha256"])
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def download_all(self, job_id: str, folder: Path, names: Iterable[str] = ()) -> Iterator[Path]:
        """Saves the named outputs, or all, in a folder; gives each path as it is saved. A failure stops none of the
        others: one ApiError at the end names every output that failed."""
        folder.mkdir(parents=True, exist_ok=True)
        failed: dict[str, ApiError] = {}
        for name in names or [output["name"] for output in self.get(job_id)["outputs"]]:
            try:
                yield self.download(job_id, name, folder)
            except ApiError as error:
                failed[name] = error
            except OSError as error:
                failed[name] = ApiError(0, {"code": "not_saved", "detail": f"it cannot be saved: {error}"})
        if failed:
            last = failed[next(reversed(failed))]
            told = "; ".join(f"{name!r}: {error.detail}" for name, error in failed.items())
            raise ApiError(last.status, {**last.problem, "detail": f"not downloaded: {told}"})

    def upload(self, path: Path) -> str:
        """Uploads a file straight to the bucket; gives the source that a job's input names. Errors: also OSError."""
        made = self._sender.document("POST", "/v1/uploads", json={"name": path.name, "bytes": path.stat().st_size})

        def put() -> httpx.Response:
            with path.open("rb") as file:
                return httpx.put(made["url"], content=file, headers=made.get("headers"), timeout=timeout(TRANSFER_S))

        self._sender.retried(put, "the bucket")
        source: str = made["source"]
        return source

    def _pages(self, method: str, path: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """All pages. Each POST has an Idempotency-Key, so that a retry does not replay a page twice."""
        query = {name: value for name, value in filters.items() if value is not None}
        while True:
            headers = {"Idempotency-Key": secrets.token_hex(16)} if method == "POST" else {}
            page = self._sender.document(method, path, params=query, headers=headers)
            yield page
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def _with_large_files_uploaded(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs, with the largest files uploaded until the rest fits into a form."""
        paths = sorted((path for _, path in named_paths(inputs)), key=lambda path: path.stat().st_size)
        sources: dict[Path, str] = {}
        while sum(path.stat().st_size for path in paths) > FORM_MAX_BYTES:
            largest = paths.pop()
            sources[largest] = sources.get(largest) or self.upload(largest)
        return {name: replaced(value, sources) for name, value in inputs.items()}

    def _submit_form(self, texts: dict[str, str], files: list[tuple[str, Path]], headers: dict[str, str]) -> Job:
        def post() -> httpx.Response:
            with opened(files) as parts:
                return self._sender.http.post(
                    "/v1/jobs", data=texts, files=parts, headers=headers, timeout=timeout(TRANSFER_S)
                )

        return self._sender.read(self._sender.retried(post))
