"""A stranger's jobs that end the process which the gpu pool shares: hung batches, jobs that kill it. Others' jobs that
were in it end well, and the stranger is the one who pays.
"""

import os
import signal
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from api import keyfile
from tests.stack import until
from tests.strangers.conftest import MODELS, Town
from tests.strangers.test_shared_process import shared_process

ENDS_S = 120
DEAF_ROWS = """
[[model]]
kind = "generate"
name = "gpu-deaf-rows"
algorithm = "tests.models.deaf"
pool = "gpu"
memory_mb = 400
batch = 4
"""


class Tenant:
    """One key's jobs on the gpu pool."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def submit(self, model: str, prompt: str, **limits: object) -> str:
        body = {"kind": "generate", "model": model, "input": {"prompt": prompt}, **limits}
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict:
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def is_in(self, job_id: str, *phases: str) -> None:
        until(lambda: (job := self.job(job_id))["status"] == "running" and job["phase"] in phases, ENDS_S)

    def may_run_two_at_once(self) -> None:
        """Wait until two jobs of it run at the same time."""
        jobs = [self.submit("gpu-sleep", "100") for _ in range(2)]
        until(lambda: all(self.job(job_id)["status"] == "running" for job_id in jobs), ENDS_S)
        for job_id in jobs:
            self.http.post(f"/v1/jobs/{job_id}/cancel")
        self.ended(*jobs)

    def ended(self, *job_ids: str) -> list[dict]:
        return [until(lambda one=one: (job := self.job(one))["done"] and job, ENDS_S, one) for one in job_ids]


@pytest.fixture(scope="module")
def town(make_town, tmp_path_factory) -> Iterator[Town]:
    models = tmp_path_factory.mktemp("models") / "models.toml"
    models.write_text(MODELS.read_text() + DEAF_ROWS)
    yield from make_town(("gpu",), gpu_slots=8, models=models)


@pytest.fixture(scope="module")
def stranger(town: Town) -> Iterator[Tenant]:
    with town.client as http:
        yield Tenant(http)


@pytest.fixture(scope="module")
def neighbour(town: Town) -> Iterator[Tenant]:
    with town.client_of(keyfile.add(town.stack.settings.keys_file, "neighbour")) as http:
        until(lambda: http.get("/v1/jobs").status_code == 200, 20, "the API has seen the new key")
        yield Tenant(http)


def together(jobs: list[dict]) -> int:
    """How many pairs of the jobs' last attempts overlap."""
    times = sorted(
        (
            datetime.fromisoformat(job["attempts"][-1]["started_at"]),
            datetime.fromisoformat(job["attempts"][-1]["ended_at"]),
        )
        for job in jobs
    )
    return sum(later[0] < earlier[1] for n, earlier in enumerate(times) for later in times[n + 1 :])


def test_a_busy_model_leaves_slots_to_another(stranger, neighbour):
    """Twelve jobs of one model and eight slots: two of them are held at once, and a lone job of another model is done
    while all others wait."""
    busy = [stranger.submit("gpu-sleep", "100") for _ in range(12)]
    stranger.is_in(busy[0], "running")
    lone = neighbour.ended(neighbour.submit("gpu-noop", "x"))[0]
    states = [stranger.job(job_id)["status"] for job_id in busy]
    assert lone["status"] == "succeeded" and states.count("running") <= 2, states
    assert states.count("running") + states.count("queued") == 12, states
    for job_id in busy:
        stranger.http.post(f"/v1/jobs/{job_id}/cancel")
    stranger.ended(*busy)


def test_a_process_killed_from_outside_costs_nobody_but_time(town, neighbour):
    """Nobody knows whose fault it was: what was computed in it comes again with nothing beside it, and no one is
    charged."""
    jobs = [neighbour.submit("gpu-sleep", "1"), neighbour.submit("gpu-sleep", "1"), neighbour.submit("gpu-rows", "50")]
    for job_id in jobs:
        neighbour.is_in(job_id, "running", "batching")
    os.kill(shared_process(town), signal.SIGKILL)
    ends = neighbour.ended(*jobs)
    assert [(end["status"], end["attempts"][0]["error"]["code"], len(end["attempts"])) for end in ends] == [
        ("succeeded", "worker_lost", 2)
    ] * 3
    assert together(ends) == 0
    neighbour.may_run_two_at_once()


def test_who_costs_the_pool_three_processes_pays_and_nobody_else(town, stranger, neighbour):
    """A batch that hangs, with a neighbour's row in it; then two jobs that kill their process."""
    stranger.is_in(stranger.submit("gpu-deaf-rows", "10"), "running")  # alone: no later job may join its batch
    hangs, beside = stranger.submit("gpu-deaf-rows", "60", run_timeout_s=1), neighbour.submit("gpu-deaf-rows", "0.1")
    for one, job_id in ((stranger, hangs), (neighbour, beside)):
        one.is_in(job_id, "batching")  # so that the next batch is of these two
    (end,) = stranger.ended(hangs)
    assert (end["status"], end["error"]["code"]) == ("failed", "timeout")
    assert [attempt["error"]["code"] for attempt in end["attempts"]] == ["worker_lost", "timeout"]
    (end,) = neighbour.ended(beside)
    assert (end["status"], len(end["attempts"])) == ("succeeded", 2)
    assert "a batch of 2 jobs did not come to its end" in end["attempts"][0]["error"]["detail"]

    with town.honest.beside("two jobs that kill the gpu process") as seen:
        ends = stranger.ended(*[stranger.submit("gpu-poison", "SIGKILL", max_attempts=5) for _ in range(2)])
    assert not seen.errors and seen.jobs
    for end in ends:
        assert (end["status"], end["error"]["code"], end["error"]["retryable"]) == ("failed", "worker_lost", False)
        assert "nothing else ran in it" in end["error"]["detail"] and len(end["attempts"]) == 2
    neighbour.may_run_two_at_once()
    alone = [stranger.submit("gpu-sleep", "2") for _ in range(3)]
    assert together(stranger.ended(*alone)) == 0, "the stranger's jobs run one at a time for ten minutes"
