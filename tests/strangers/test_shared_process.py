"""A stranger's jobs in the process that all tenants of the gpu pool share: it is not ended, and the others see nothing.

Whatever the stranger's job waits for (a silent server, its turn, a model that is loaded) it can be stopped there, and
its timeouts count its model's turn alone.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from tasks.ledger import connect, keys
from tests.stack import until
from tests.strangers.conftest import Town
from tests.web import Web, serve
from tests.worker.conftest import celery_of

ENDS_S = 60
FINAL = ("succeeded", "failed", "canceled", "expired")


@dataclass
class Shared:
    """The town's gpu worker, and a web server of the stranger's that is silent (`/silent`) or drips (`/drip`)."""

    town: Town
    web: Web
    http: httpx.Client
    pid: int
    over: threading.Event = field(default_factory=threading.Event)

    def submit(self, model: str, prompt: object, **limits: object) -> str:
        answer = self.http.post(
            "/v1/jobs", json={"kind": "generate", "model": model, "input": {"prompt": prompt}, **limits}
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict:
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def reaches(self, job_id: str, phase: str) -> None:
        until(
            lambda: self.job(job_id)["phase"] == phase and self.job(job_id)["status"] == "running",
            ENDS_S,
            f"{job_id} is {phase}",
        )

    def ended(self, job_id: str) -> dict:
        return until(lambda: (job := self.job(job_id))["done"] and job, ENDS_S, f"{job_id} has ended")

    def cancel(self, job_id: str) -> dict:
        assert self.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
        return self.ended(job_id)


def shared_process(town: Town) -> int:
    """The id of the gpu worker's Celery process."""
    redis = connect(town.stack.settings)
    (name,) = [name for name in redis.zrange(keys.WORKERS, 0, -1) if name.startswith("gpu")]
    return celery_of(int(redis.hget(keys.worker(name), "pid"))).pid


@pytest.fixture(scope="module")
def town(make_town) -> Iterator[Town]:
    yield from make_town(("gpu",), gpu_slots=8, models_mb=200)


@pytest.fixture(scope="module")
def shared(town: Town) -> Iterator[Shared]:
    with serve() as web, town.client as http:
        made = Shared(town, web, http, shared_process(town))
        web.does("/silent", lambda request: made.over.wait(120))
        web.does("/drip", lambda request: _drip(request, made.over))
        town.honest.alone()
        yield made
        made.over.set()


def _drip(request, over: threading.Event) -> None:
    """A byte now and then, for ever."""
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        while not over.wait(0.3):
            request.wfile.write(b".")


@pytest.fixture(scope="module")
def drip(shared: Shared) -> str:
    """Under way from the first test on, for it takes half a minute to be given up."""
    return shared.submit("gpu-noop", {"url": shared.web.url + "/drip"}, max_attempts=1)


@pytest.fixture(autouse=True)
def _same_process(shared: Shared, drip: str) -> Iterator[None]:
    """After each test: the process lives that was there at first."""
    yield
    assert psutil.pid_exists(shared.pid)
    assert shared_process(shared.town) == shared.pid


def test_a_silent_server_and_small_timeouts_kill_nobody(shared):
    """One such job every half second: each ends by itself, and the honest tenant's all succeed."""
    with shared.town.honest.beside("silent server, run_timeout_s 1, deadline_s 2") as seen:
        jobs = []
        for _ in range(12):
            jobs.append(shared.submit("gpu-noop", {"url": shared.web.url + "/silent"}, run_timeout_s=1, deadline_s=2))
            time.sleep(0.5)
        ends = [shared.ended(job_id) for job_id in jobs]
    assert not seen.errors and seen.jobs
    assert {end["status"] for end in ends} <= {"failed", "expired"}
    assert {end["error"]["code"] for end in ends if end["status"] == "failed"} == {"deadline_exceeded"}


@pytest.mark.parametrize(
    ("phase", "model", "prompt"),
    [
        ("fetching", "gpu-noop", "silent"),
        ("fetching", "gpu-noop", "drip"),
        ("loading", "gpu-slowload", "x"),
        ("running", "gpu-sleep", "100"),
        ("running", "gpu-rows", "5000"),
    ],
)
def test_a_job_can_be_canceled_in_each_phase(shared, phase, model, prompt):
    """In the fetch, though the server says nothing; while its model is loaded; in the middle of a batch."""
    source = {"url": f"{shared.web.url}/{prompt}"} if phase == "fetching" else prompt
    with shared.town.honest.beside(f"cancel while {phase}: {model} {prompt}") as seen:
        job_id = shared.submit(model, source)
        shared.reaches(job_id, phase)
        assert shared.cancel(job_id)["status"] == "canceled"
    assert not seen.errors and seen.jobs


def test_a_job_can_be_canceled_in_its_models_line(shared):
    """It leaves at once; the batch before it goes on, and so does the one behind it."""
    first = shared.submit("gpu-sleep", "4")
    shared.reaches(first, "running")
    waiting, last = shared.submit("gpu-sleep", "0.1"), None
    shared.reaches(waiting, "batching")
    last = shared.submit("gpu-sleep", "0.1")
    assert shared.cancel(waiting)["status"] == "canceled"
    assert shared.job(first)["status"] == "running", "the batch before it still computes"
    assert [shared.ended(job_id)["status"] for job_id in (first, last)] == ["succeeded", "succeeded"]


def test_waiting_for_another_tenants_job_is_not_charged(shared):
    """A model busy for three seconds, and behind it a job that may run one: it succeeds, and its metrics say why."""
    busy = shared.submit("gpu-sleep", "3")
    shared.reaches(busy, "running")
    job = shared.ended(shared.submit("gpu-sleep", "0.1", run_timeout_s=1))
    assert job["status"] == "succeeded", job["error"]
    assert job["metrics"]["batch_s"] > job["metrics"]["run_s"]
    assert shared.ended(busy)["status"] == "succeeded"


def test_a_turn_that_does_not_come_counts_nowhere(shared):
    """Over the model's batch_timeout_s the job goes back into its line; its one attempt is not spent."""
    busy = shared.submit("gpu-sleep-hasty", "4")
    shared.reaches(busy, "running")
    job = shared.ended(shared.submit("gpu-sleep-hasty", "0.1", max_attempts=1))
    assert job["status"] == "succeeded", job["error"]
    outcomes = [attempt["outcome"] for attempt in job["attempts"]]
    assert outcomes[-1] == "succeeded" and set(outcomes[:-1]) == {"released"}
    assert shared.ended(busy)["status"] == "succeeded"


def test_a_stopped_row_leaves_its_batch_and_the_others_go_on(shared):
    """The stranger's row is over its limit; the one beside it is done in its own time and in one attempt."""
    with shared.town.client_of(shared.town.key) as http:
        blocker = shared.submit("gpu-rows", "50")  # so that the next two share a batch
        shared.reaches(blocker, "running")
        stopped, other = shared.submit("gpu-rows", "5000", run_timeout_s=1), shared.submit("gpu-rows", "250")
        short = shared.submit("gpu-rows", "5")
        assert shared.ended(short)["status"] == "succeeded"
        assert not http.get(f"/v1/jobs/{other}").json()["done"], "a short row is answered before its batch is done"
        end = shared.ended(stopped)
        assert (end["status"], end["error"]["code"], len(end["attempts"])) == ("failed", "timeout", 1)
        end = shared.ended(other)
        assert (end["status"], len(end["attempts"])) == ("succeeded", 1), end["error"]


def test_limits_that_no_worker_can_keep_are_refused(shared):
    """Just under a second: 422, which names the field and the limit; a second is taken."""
    for name in ("run_timeout_s", "deadline_s"):
        body = {"kind": "generate", "model": "gpu-noop", "input": {"prompt": "x"}, name: 0.99}
        answer = shared.http.post("/v1/jobs", json=body)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == f"/{name}"
        assert "1" in answer.json()["errors"][0]["detail"]
        assert shared.http.post("/v1/jobs", json={**body, name: 1}).status_code == 202


def test_a_dripping_server_is_given_up_for_its_speed(shared, drip):
    """The error names the speed; the server may do better, so the job may be tried again."""
    job = shared.ended(drip)
    assert (job["status"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "input_unreachable", True)
    assert "less than 1,000 bytes a second on average of 30 s" in job["error"]["detail"]
