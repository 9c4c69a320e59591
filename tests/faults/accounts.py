"""The client's own books: every job that was accepted, and what became of it, as told from outside.

Nothing here reads what the system counts. A job is lost where it has no final status in time, or one that its
submitter had no reason to expect; it was done twice where it changed after its end, where two attempts succeeded, or
where the bucket holds outputs of another attempt than the committed one. A webhook is lost where its receiver was never
told, and the job does not say that it was given up. A batch is lost where its counts or results differ from its jobs.
"""

import json
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

Job = dict[str, Any]
ASKERS = 8
JSON_LINES = "application/jsonl"
PATIENT_S = 180
"""Longer than an Idempotency-Key stays taken by a submit whose API died while the files came in."""
FLUSHED = "Redis flushed"
SUCCEEDED = frozenset({"succeeded"})


@dataclass
class Entry:
    """One accepted job. `ends`: the statuses it may end with. `first`: how it looked when its end was first seen."""

    id: str
    ends: frozenset[str]
    accepted_at: float
    first: Job | None = None
    last: Job | None = None


@dataclass(frozen=True)
class Fault:
    """Something done to a process or a server at a time (s since 1970); `hit`: the jobs that ran where it struck."""

    what: str
    at: float
    hit: tuple[str, ...] = ()


@dataclass
class Account:
    """What is written of a scenario. Recoveries in seconds, from the fault to the start of the next attempt."""

    jobs: int = 0
    faults: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    webhooks: int = 0
    extra_starts: int = 0
    beside: int = 0
    recoveries: list[float] = field(default_factory=list)
    slowest: list[str] = field(default_factory=list)


class Books:
    """One caller with a key. `ask` and `submit` go on until there is an answer: the service may be away meanwhile.

    answers  (seconds it took, status) of everything that was asked while `watching` (0: no connection)
    """

    def __init__(self, url: str, key: str) -> None:
        self.url, self._headers = url, {"Authorization": f"Bearer {key}"}
        self.entries: dict[str, Entry] = {}
        self.batches: dict[str, list[str]] = {}  # jobs of each
        self.faults: list[Fault] = []
        self._http = httpx.Client(
            base_url=url,
            headers=self._headers,
            timeout=httpx.Timeout(70, connect=5),
            trust_env=False,
            limits=httpx.Limits(max_connections=64),
        )
        self._lock = threading.Lock()

    # -- submitting

    def submit(self, body: Job, ends: Iterable[str] = SUCCEEDED, key: str | None = None) -> str:
        """Accepted, however often it has to be asked; the job's id. The Idempotency-Key makes asking again safe."""
        key = key or secrets.token_hex(16)
        answer = self.insist("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 202, answer.text
        return self.note(answer.json(), ends)

    def note(self, job: Job, ends: Iterable[str] = SUCCEEDED) -> str:
        with self._lock:
            self.entries.setdefault(job["id"], Entry(job["id"], frozenset(ends), time.time()))
        return job["id"]

    def submit_all(self, bodies: Sequence[Job], ends: Iterable[str] = SUCCEEDED) -> list[str]:
        with ThreadPoolExecutor(ASKERS) as pool:
            return list(pool.map(lambda body: self.submit(body, ends), bodies))

    def submit_batch(self, bodies: Sequence[Job]) -> str:
        """Sent again with its key until no line waits for another try; the batch's id."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} | dict.fromkeys(("Accept", "Content-Type"), JSON_LINES)
        content, end = "\n".join(map(json.dumps, bodies)), time.monotonic() + PATIENT_S
        while True:
            answer = self.insist("POST", "/v1/batches", content=content, headers=headers)
            assert answer.status_code == 200, answer.text
            lines = [json.loads(line) for line in answer.text.splitlines()]
            if all("job" in line for line in lines):
                break
            assert time.monotonic() < end, (
                f"refused for {PATIENT_S} s: {[line for line in lines if 'error' in line][0]}"
            )
            assert all(line["error"]["retryable"] for line in lines if "error" in line), answer.text
            time.sleep(0.1)
        batch_id = answer.headers["Location"].rpartition("/")[2]
        self.batches[batch_id] = [self.note(line["job"]) for line in lines]
        return batch_id

    def insist(self, method: str, path: str, patient_s: float = PATIENT_S, **more: Any) -> httpx.Response:
        """The first answer that is none of 'come back later'."""
        end = time.monotonic() + patient_s
        while True:
            try:
                answer = self._http.request(method, path, **more)
                if not _later(answer):
                    return answer
                said = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                said = repr(error)
            assert time.monotonic() < end, f"{method} {path}: not answered within {patient_s} s; at last {said}"
            time.sleep(0.1)

    def get(self, job_id: str) -> Job:
        answer = self.insist("GET", f"/v1/jobs/{job_id}")
        return answer.json() if answer.status_code == 200 else {"id": job_id, "status": str(answer.status_code)}

    def once(self, method: str, path: str, **more: Any) -> tuple[float, int]:
        """Seconds and status of one request; 0 where nobody answered."""
        start = time.monotonic()
        try:
            status = self._http.request(method, path, **more).status_code
        except httpx.TransportError:
            status = 0
        return time.monotonic() - start, status

    # -- faults

    def struck(self, what: str, hit: Sequence[str] = ()) -> None:
        """Something was done just now."""
        self.faults.append(Fault(what, time.time(), tuple(hit)))

    # -- the account

    def untold(self, told: Mapping[str, str]) -> list[str]:
        """Ended jobs whose webhook was lost, or told another status than the job has. `told`: status by id."""
        lost = []
        for entry in self.entries.values():
            job = entry.last or entry.first or {}
            webhook, heard = job.get("webhook"), told.get(entry.id)
            if webhook and heard != job["status"] and webhook["status"] != "failed":
                lost.append(f"{entry.id}: {job['status']}, and its webhook told {heard}: {webhook}")
        return lost

    def miscounted(self) -> list[str]:
        """Batches that do not tell of their jobs what the jobs tell, each by itself. Once all have ended."""
        wrong = []
        for batch_id, job_ids in self.batches.items():
            batch = self.insist("GET", f"/v1/batches/{batch_id}").json()
            results = self.insist("GET", f"/v1/batches/{batch_id}/results").text.splitlines()
            of_lines = [job["id"] for line in results if (job := json.loads(line).get("job")) and job["done"]]
            ends = Counter(self.entries[job_id].first["status"] for job_id in job_ids if self.entries[job_id].first)
            counts = {status: batch.get("counts", {}).get(status) for status in ends}
            if counts != ends or of_lines != job_ids or not batch.get("done"):
                wrong.append(f"{batch_id}: its jobs are {dict(ends)}, {len(of_lines)} results; it says {batch}")
        return wrong

    def wait(self, ids: Iterable[str] | None = None, deadline_s: float = PATIENT_S) -> None:
        """Until all have ended, or the time is over (then they are lost)."""
        end = time.monotonic() + deadline_s
        waiting = [self.entries[one] for one in (self.entries if ids is None else ids) if not self.entries[one].first]
        with ThreadPoolExecutor(ASKERS) as pool:
            while waiting and time.monotonic() < end:
                for entry, job in zip(waiting, pool.map(lambda entry: self.get(entry.id), waiting), strict=True):
                    if job.get("done"):
                        entry.first = job
                waiting = [entry for entry in waiting if not entry.first]
                time.sleep(0.1)

    def account(self, committed: Callable[[str], set[str]] | None = None, deadline_s: float = PATIENT_S) -> Account:
        """Close the books. `committed`: the attempts' folders with outputs that the bucket holds of a job."""
        self.wait(deadline_s=deadline_s)
        with ThreadPoolExecutor(ASKERS) as pool:
            for entry, job in zip(self.entries.values(), pool.map(self.get, self.entries), strict=True):
                entry.last = job
        made = Account(jobs=len(self.entries))
        hits = [fault for fault in self.faults if fault.hit]
        made.faults = len(hits) if hits else len(self.faults)
        for entry in self.entries.values():
            self._judge(entry, made)
            if committed and entry.first and entry.first["status"] == "succeeded" and len(committed(entry.id)) > 1:
                made.twice.append(f"{entry.id}: outputs of {sorted(committed(entry.id))}")
        recovered = [(seconds, job_id, fault) for fault in hits for seconds, job_id in self._recovered(fault)]
        made.recoveries = [seconds for seconds, *_ in recovered]
        made.slowest = [self._meanwhile(*one) for one in sorted(recovered, key=lambda one: one[0])[-5:]]
        return made

    def _meanwhile(self, seconds: float, job_id: str, fault: Fault) -> str:
        """A recovery with the other faults before its end, by seconds after the first."""
        others = [
            f"{other.what} at {other.at - fault.at:.1f}"
            for other in self.faults
            if fault.at < other.at < fault.at + seconds
        ]
        return f"{job_id} started again {seconds:.1f} s after {fault.what}; meanwhile: {', '.join(others) or 'nothing'}"

    def _judge(self, entry: Entry, made: Account) -> None:
        first, last = entry.first, entry.last
        if first is None or not last.get("done"):
            made.lost.append(f"{entry.id}: {last['status']} {last.get('message') or ''}")
        elif first["status"] not in entry.ends:
            made.lost.append(f"{entry.id}: {first['status']} {first.get('error')}")
        else:
            ended = [attempt["outcome"] for attempt in first["attempts"]].count("succeeded")
            if ended > 1 or any(first[name] != last[name] for name in ("status", "completed_at", "result", "outputs")):
                made.twice.append(f"{entry.id}: {ended} successes; {first['status']} became {last['status']}")
            made.extra_starts += max(0, len(first["attempts"]) - 1)

    def _recovered(self, fault: Fault) -> list[tuple[float, str]]:
        """Seconds to the next start; of jobs whose attempts of then were not lost meanwhile with Redis' memory."""
        found, flushes = [], [other.at for other in self.faults if other.what == FLUSHED and other.at > fault.at]
        forgotten_at = min(flushes, default=math.inf)
        for job_id in fault.hit:
            attempts = (self.entries[job_id].last or {}).get("attempts", [])
            starts = [start for attempt in attempts if (start := _seconds(attempt["started_at"])) < forgotten_at]
            after = [start - fault.at for start in starts if start > fault.at]
            found += [(seconds, job_id) for seconds in after[:1]]
        return found


def _later(answer: httpx.Response) -> bool:
    """Whether the same request may be answered otherwise in a moment."""
    return answer.status_code in (429, 502, 503, 504) or (answer.status_code == 409 and answer.json()["retryable"])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
