"""The HTTP client: submit, wait, fetch what was made. It knows the API's words and nothing of the service.

    from api.client import Client
    job = Client().submit("transcribe", {"audio": Path("talk.mp3")}, wait=60)

A request that was refused for the moment (503, 429), or whose answer was lost, is sent again. A submit
carries an Idempotency-Key, its own if the caller gave none, so that sending it again never makes two jobs.
"""

import contextlib
import hashlib
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

Job = dict[str, Any]
FORM_MAX_BYTES = 50 * 1024 * 1024
"""Files beyond this, together, do not go through the API but straight to the bucket."""
TRIES = 6
WAIT_S = 30
LOOK_S = 2
FIRST_ANSWER_S = 2
"""For so long, and no longer, is a connection tried again that nobody has yet answered."""
LOCAL = "http://127.0.0.1:8080"


class ApiError(Exception):
    """A refusal, as the service told it; `problem` is all of it. `status` 0: there was no answer."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, dict(problem)
        self.code: str = problem.get("code", "unknown")
        self.detail: str = problem.get("detail", "")
        self.retryable: bool = problem.get("retryable", False)
        super().__init__(f"{self.detail} ({self.code})")


class Client:
    """One API and one key. Jobs are dicts, as in the API's document. Errors of everything: ApiError."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        on_pause: Callable[[ApiError, float], None] = lambda error, seconds: None,
    ) -> None:
        """`on_pause(error, seconds)` is told before a request is sent again. Errors: ValueError for a URL or a key
        that can be none."""
        self.url = _base(url or os.environ.get("BACKLOT_URL") or LOCAL)
        self._on_pause, self._answered = on_pause, False
        key = (key or os.environ.get("BACKLOT_API_KEY", "")).strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key (BACKLOT_API_KEY) has characters that no key has")
        self._http = httpx.Client(
            base_url=self.url, transport=transport, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

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
        """A new job. A pathlib.Path among the inputs is a file to send; `rest` are the API's other fields.

        With `wait` (seconds) the job is given back when it is done, or as it is when the time is over.
        """
        fields = {"kind": kind, "model": model, "params": params, **rest}
        fields = {name: value for name, value in fields.items() if value is not None}
        inputs = self._send_large(inputs)
        headers = {"Idempotency-Key": f'"{idempotency_key or secrets.token_hex(16)}"'}
        files = [(name, path) for name, value in inputs.items() for path in _paths(value)]
        job = (
            self._submit_form(fields, inputs, files, headers)
            if files
            else self._json("POST", "/v1/jobs", json={**fields, "input": inputs}, headers=headers)
        )
        return self.wait(job["id"], timeout=wait) if wait else job

    def get(self, job_id: str) -> Job:
        """The job as it is."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def wait(self, job_id: str, timeout: float | None = None, on_change: Callable[[Job], None] | None = None) -> Job:
        """The job when it is done, or as it is after `timeout` seconds; `on_change` gets it whenever it looks new."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        seen = None
        while True:
            left = max(0, min(LOOK_S if on_change else WAIT_S, end - time.monotonic()))
            asked = time.monotonic()
            job = self._json("GET", f"/v1/jobs/{job_id}", headers={"Prefer": f"wait={round(left)}"})
            look = tuple(job[name] for name in ("status", "phase", "progress", "message", "queue_position"))
            if on_change and look != seen:
                on_change(job)
            seen = look
            if job["done"] or time.monotonic() >= end:
                return job
            time.sleep(max(0, min(1, left) - (time.monotonic() - asked)))  # where the wait was not granted

    def cancel(self, job_id: str) -> Job:
        """Ask it to stop."""
        return self._json("POST", f"/v1/jobs/{job_id}/cancel")

    def retry(self, job_id: str) -> Job:
        """A new job of an ended one's request."""
        return self._json("POST", f"/v1/jobs/{job_id}/retry", headers={"Idempotency-Key": secrets.token_hex(16)})

    def delete(self, job_id: str) -> None:
        """Erase an ended job and its outputs."""
        self._request("DELETE", f"/v1/jobs/{job_id}")

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """Jobs newest first, page after page: status, kind, model; limit is a page's."""
        cursor = None
        while True:
            query = {name: value for name, value in {**filters, "cursor": cursor}.items() if value is not None}
            page = self._json("GET", "/v1/jobs", params=query)
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def dead_letters(self, **filters: Any) -> Iterator[Job]:
        """Jobs that failed after their last attempt for a reason that may have passed: kind, model, error_code,
        older_than_s; those that ended last first."""
        for page in self._dead_letters("GET", "", filters):
            yield from page["data"]

    def replay_dead_letters(self, **filters: Any) -> Iterator[Job]:
        """A new job of each, as they are made. One that was refused alone, its model being gone, stays a dead letter;
        a limit that is met is waited for, then an ApiError."""
        for page in self._dead_letters("POST", "/replay", filters):
            yield from page["data"]

    def purge_dead_letters(self, **filters: Any) -> Iterator[str]:
        """Erase each, and what it left; their ids."""
        for page in self._dead_letters("DELETE", "", filters):
            yield from (erased["id"] for erased in page["data"])

    def _dead_letters(self, method: str, path: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Page after page; each call has a key of its own, so that one whose answer was lost is not done twice."""
        query = {name: value for name, value in filters.items() if value is not None}
        while True:
            headers = {"Idempotency-Key": secrets.token_hex(16)} if method == "POST" else {}
            page = self._json(method, f"/v1/dead-letters{path}", params=query, headers=headers)
            yield page
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def api_keys(self) -> list[dict[str, Any]]:
        """All API keys by the beginning of their hashes, and when each was last used; for operators."""
        return self._json("GET", "/v1/keys")["data"]

    def explain(self, job_id: str, tenant: str | None = None) -> dict[str, Any]:
        """How a job stands and what it waits for, in sentences; for operators. `tenant`: whose, where Redis does not
        know the job."""
        return self._json("GET", f"/v1/jobs/{job_id}/explanation", params={"tenant": tenant} if tenant else None)

    def pauses(self) -> list[dict[str, Any]]:
        """What is paused, and why; for operators."""
        return self._json("GET", "/v1/pauses")["data"]

    def pause(self, what: str, reason: str = "") -> list[dict[str, Any]]:
        """Start no more jobs of `pool/<name>`, `model/<kind>/<name>` or `tenant/<name>`; those that run go on. For
        operators; all pauses."""
        return self._json("PUT", f"/v1/pauses/{what}", json={"reason": reason})["data"]

    def resume(self, what: str) -> list[dict[str, Any]]:
        """Start jobs of it again; for operators. All pauses."""
        return self._json("DELETE", f"/v1/pauses/{what}")["data"]

    def erase_tenant(self, tenant: str) -> dict[str, Any]:
        """Ask for the erasure of all of a tenant that has no keys; for operators."""
        return self._json("DELETE", f"/v1/tenants/{tenant}")

    def erasure(self, tenant: str) -> dict[str, Any]:
        """The receipt of the tenant's newest erasure; for operators."""
        return self._json("GET", f"/v1/tenants/{tenant}/erasure")

    def models(self) -> list[dict[str, Any]]:
        """What can be asked for."""
        return self._json("GET", "/v1/models")["data"]

    def model(self, kind: str, name: str) -> dict[str, Any]:
        """One model with its contract."""
        return self._json("GET", f"/v1/models/{kind}/{name}")

    def download(self, job_id: str, name: str, target: Path) -> Path:
        """An output, into the file or folder `target`, checked against its SHA-256; the path of the file."""
        known = next((output for output in self.get(job_id)["outputs"] if output["name"] == name), None)
        if known is None:
            raise ApiError(404, {"code": "not_found", "detail": f"job {job_id} has no output {name!r}"})
        target = target / Path(name).name if target.is_dir() else target
        part = target.with_name(target.name + ".part")
        path = known["url"].removeprefix(httpx.URL(self.url).path.rstrip("/"))  # a proxy's, which both may have
        link = self._request("GET", path, follow_redirects=False).headers["Location"]
        try:
            _save(link, part, known["sha256"])
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def download_all(self, job_id: str, folder: Path, names: Iterable[str] = ()) -> Iterator[Path]:
        """Outputs of a job, those named or all, into a folder, each as `download` does it; their paths as they come.
        One that fails stops none of the others: the ApiError, which names each that failed, comes at the end."""
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
        """Send a file straight to the bucket; its source, for a job's input."""
        made = self._json("POST", "/v1/uploads", json={"name": path.name, "bytes": path.stat().st_size})

        def put() -> httpx.Response:
            with path.open("rb") as file:
                return httpx.put(made["url"], content=file, headers=made.get("headers"), timeout=_timeout(300))

        self._insist(put, "the bucket")
        return made["source"]

    def _send_large(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The largest files become uploads, until the rest is small enough for a form."""
        paths = sorted((path for value in inputs.values() for path in _paths(value)), key=lambda p: p.stat().st_size)
        sources: dict[Path, str] = {}
        while sum(path.stat().st_size for path in paths) > FORM_MAX_BYTES:
            largest = paths.pop()
            sources[largest] = sources.get(largest) or self.upload(largest)
        return {name: _sent(value, sources) for name, value in inputs.items()}

    def _submit_form(self, fields: dict, inputs: dict, files: list[tuple[str, Path]], headers: dict) -> Job:
        texts = {name: _text(value) for name, value in {**fields, **inputs}.items() if not _paths(value)}

        def post() -> httpx.Response:
            with contextlib.ExitStack() as stack:
                parts = [(name, (path.name, stack.enter_context(path.open("rb")))) for name, path in files]
                return self._http.post("/v1/jobs", data=texts, files=parts, headers=headers, timeout=_timeout(300))

        return self._read(self._insist(post))

    def _json(self, method: str, path: str, **more: Any) -> Any:
        return self._read(self._request(method, path, **more))

    def _read(self, response: httpx.Response) -> Any:
        """The JSON of an answer. Errors: ApiError where it is none: something else listens there."""
        try:
            return response.json()
        except ValueError as error:
            elsewhere = f", which leads to {to}" if (to := response.headers.get("Location")) else ""
            raise ApiError(
                response.status_code,
                {
                    "code": "unknown",
                    "detail": f"{self.url} is not Backlot's API: HTTP {response.status_code} without JSON{elsewhere}",
                },
            ) from error

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._insist(lambda: self._http.request(method, path, timeout=_timeout(WAIT_S + 60), **more))

    def _insist(self, send: Callable[[], httpx.Response], whom: str = "") -> httpx.Response:
        """Send until there is an answer that another try would not change. Errors: ApiError."""
        began = time.monotonic()
        for number in range(1, TRIES + 1):
            delay = random.uniform(0, min(10, 0.25 * 2**number))
            try:
                response = send()
            except httpx.TransportError as error:
                refusal = ApiError(
                    0,
                    {
                        "code": "unreachable",
                        "detail": f"no answer from {whom or self.url}: {error or repr(error)}",
                        "retryable": not isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError),
                    },
                )
                nobody = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not self._answered
                if nobody and time.monotonic() + delay - began > FIRST_ANSWER_S:
                    raise refusal from error
            else:
                self._answered = True
                if response.status_code < 400:
                    return response
                refusal = _refusal(response)
                delay = max(delay, _seconds(response.headers.get("Retry-After")))
            if not refusal.retryable or number == TRIES:
                raise refusal
            self._on_pause(refusal, delay)
            time.sleep(delay)
        raise AssertionError("the last try returns or raises")


def _base(url: str) -> str:
    """The URL that paths are put behind. Errors: ValueError, which says what would be one."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url!r} is not the URL of an API; it is of the form {LOCAL} or https://jobs.example.org")
    return url.rstrip("/")


def _refusal(response: httpx.Response) -> ApiError:
    with contextlib.suppress(ValueError):
        problem = response.json()
        if isinstance(problem, dict) and "code" in problem:
            return ApiError(response.status_code, problem)
    # something between us and the service spoke, or the bucket
    return ApiError(
        response.status_code,
        {
            "code": "unknown",
            "detail": f"HTTP {response.status_code} from {response.url.netloc.decode()}",
            "retryable": response.status_code in (429, 502, 503, 504),
        },
    )


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0


def _save(link: str, target: Path, sha256: str) -> None:
    """The bytes behind a link; a transfer that breaks off, or brings other bytes, is an error."""
    whole = hashlib.sha256()
    try:
        with httpx.stream("GET", link, timeout=_timeout(60)) as response, target.open("wb") as file:
            if response.status_code >= 400:
                response.read()
                raise _refusal(response)
            for chunk in response.iter_bytes():
                whole.update(chunk)
                file.write(chunk)
    except httpx.TransportError as error:
        raise ApiError(0, {"code": "unreachable", "detail": f"the download broke off: {error}"}) from error
    if whole.hexdigest() != sha256:
        raise ApiError(0, {"code": "corrupt", "detail": "what came is not what the job made: its SHA-256 differs"})


def _paths(value: Any) -> list[Path]:
    """The files an input names; a list is one of files throughout, or of none."""
    items = value if isinstance(value, list) else [value]
    return items if all(isinstance(item, Path) for item in items) else []


def _sent(value: Any, sources: Mapping[Path, str]) -> Any:
    """The input with what was sent already in place of its file."""
    if not _paths(value):
        return value
    return [sources.get(path, path) for path in value] if isinstance(value, list) else sources.get(value, value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _timeout(read_s: float) -> httpx.Timeout:
    return httpx.Timeout(read_s, connect=5)
