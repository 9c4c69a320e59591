"""Who gets a slot, played from outside: a tenant that cancels by the thousand, floods one model, runs all it may, is
paused, or uses a model that moves away, beside tenants that do none of it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api import keyfile
from tests.stack import until
from tests.strangers.conftest import MODELS, Town
from tests.strangers.honest import Honest

JOBS = "/v1/jobs"


@pytest.fixture(scope="module")
def town(make_town: Callable[..., Iterator[Town]]) -> Iterator[Town]:
    yield from make_town(("cpu", "gpu"), max_running_jobs=3, cpu_slots=4)


@pytest.fixture
def third(town: Town) -> Iterator[httpx.Client]:
    """One more tenant."""
    with town.client_of(keyfile.add(town.stack.settings.keys_file, "third")) as client:
        until(lambda: client.get(JOBS).status_code == 200)
        yield client


@pytest.fixture
def operator(town: Town) -> Iterator[httpx.Client]:
    with town.client_of(town.operator_key) as client:
        yield client


def submit(client: httpx.Client, model: str, prompt: str = "0") -> str:
    answer = client.post(JOBS, json={"kind": "generate", "model": model, "input": {"prompt": prompt}})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def look(client: httpx.Client, job_id: str) -> dict:
    return client.get(f"{JOBS}/{job_id}").json()


def running(client: httpx.Client) -> int:
    return len(client.get(JOBS, params={"status": "running", "limit": 100}).json()["data"])


def succeeded(client: httpx.Client, *ids: str) -> list[dict]:
    jobs = [until(lambda job_id=job_id: (job := look(client, job_id))["done"] and job, 60) for job_id in ids]
    assert [job["status"] for job in jobs] == ["succeeded"] * len(ids)
    return jobs


def cancel(client: httpx.Client, *ids: str) -> None:
    for job_id in ids:
        client.post(f"{JOBS}/{job_id}/cancel")
    for job_id in ids:
        until(lambda job_id=job_id: look(client, job_id)["done"], 60)


def test_canceling_by_the_hundred_holds_up_no_later_job(town, third, operator):
    """300 submitted, all canceled but the first; a new one starts among the first, though another tenant has 40
    waiting. The pool is paused meanwhile, so that all of them wait."""
    operator.put("/v1/pauses/pool/cpu", json={"reason": "the test counts places"})
    with town.client as client:
        hasty = [submit(client, "cpu-noop") for _ in range(300)]
        others = [submit(third, "cpu-noop") for _ in range(40)]
        cancel(client, *hasty[1:])
        new = submit(client, "cpu-noop")
        operator.delete("/v1/pauses/pool/cpu")
        mine = succeeded(client, hasty[0], new)[1]
        theirs = succeeded(third, *others)
    before = [job for job in theirs if job["started_at"] < mine["started_at"]]
    assert len(before) <= 10, f"{len(before)} jobs of the other tenant were before it"


def test_a_flood_at_one_model_leaves_slots_to_another(town):
    """Four slots of one process; no more than two of the busy model's jobs, a batch of one each, stand in them."""
    honest = Honest(town.api.url, keyfile.add(town.stack.settings.keys_file, "honest-gpu"), "gpu-noop")
    until(lambda: not honest.alone().errors or setattr(honest, "_alone", None), 30)
    with town.client as client, honest.beside("a flood at another model of the pool") as seen:
        flood = [submit(client, "gpu-sleep", "60") for _ in range(12)]
        until(lambda: running(client) == 2, 30)
        until(lambda: seen.jobs >= 10, 60)
        assert running(client) == 2
        cancel(client, *flood[::-1])
    assert not seen.errors and seen.jobs >= 10


def test_a_tenant_that_may_run_three_runs_three_and_the_rest_wait_aside(town):
    """Four processes: one is always free for others. A job that ends lets the next one start, in order."""
    with town.client as client, town.honest.beside("a tenant that runs all it may") as seen:
        flood = [submit(client, "cpu-sleep", "60") for _ in range(20)]
        until(lambda: running(client) == 3, 30)
        until(lambda: seen.jobs >= 10, 60)
        assert running(client) == 3
        waits = look(client, flood[3])
        assert waits["status"] == "queued" and waits["message"] == "waits, as its tenant runs as many jobs as it may"
        cancel(client, flood[0])
        until(lambda: look(client, flood[3])["status"] == "running", 30, "the next one starts")
        assert running(client) == 3 and look(client, flood[4])["status"] == "queued"
        cancel(client, *flood[::-1])
    assert not seen.errors and seen.jobs >= 10


@pytest.mark.parametrize("what", ["tenant/stranger", "model/generate/cpu-files"])
def test_what_is_paused_waits_and_the_others_go_on(town, operator, what):
    """Submits are taken and told why they wait; what runs goes on; `wanted` leaves them out; resumed, they run."""
    with town.client as client, town.honest.beside(f"paused: {what}") as seen:
        running_on = submit(client, "cpu-sleep", "1")
        until(lambda: look(client, running_on)["status"] == "running", 30)
        assert operator.put(f"/v1/pauses/{what}", json={"reason": "an incident"}).status_code == 200
        waiting = [submit(client, "cpu-files", "x") for _ in range(5)]
        succeeded(client, running_on)
        until(lambda: seen.jobs >= 5, 60)
        told = [look(client, job_id) for job_id in waiting]
        scope, _, name = what.partition("/")
        assert {job["status"] for job in told} == {"queued"}
        assert {job["message"] for job in told} == {f"waits, as the {scope} {name} is paused: an incident"}
        pool = operator.get("/v1/pools/cpu").json()
        assert pool["held"] == 5 and pool["wanted"] <= pool["running"] + 1
        operator.delete(f"/v1/pauses/{what}")
        succeeded(client, *waiting)
    assert not seen.errors


def test_jobs_follow_a_model_that_moves_and_are_told_of_one_that_is_gone(stack, tmp_path):
    """The API is of the release before; keeper and worker have a models.toml in which one model is on another pool, and
    one is missing. Beside them a third goes on."""
    text = MODELS.read_text()
    assert (entry := 'name = "cpu-noop"\nalgorithm = "tests.models.noop"\npool = "cpu"') in text
    newer = tmp_path / "newer.toml"
    newer.write_text(
        text.replace(entry, entry.replace('pool = "cpu"', 'pool = "gpu"')).replace(
            'name = "cpu-files"', 'name = "cpu-files-renamed"'
        )
    )
    old, new = {"models": MODELS}, {"models": newer, "unknown_model_s": 8}
    key, operator_key = (keyfile.add(Path(stack.settings.keys_file), *who) for who in (["acme"], ["op", "operator"]))
    with (
        stack.api(**old) as api,
        httpx.Client(
            base_url=api.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
        ) as client,
    ):
        with stack.keeper(**old):
            until(lambda: client.get(JOBS).status_code == 200, 30)
            moved, gone = submit(client, "cpu-noop"), submit(client, "cpu-files", "x")
        with stack.keeper(**new), stack.worker("gpu", **new):
            told = until(lambda: (seen := look(client, gone))["message"] and seen, 30)
            assert told["message"] == "waits, as no worker of this deployment serves generate/cpu-files"
            pools = client.get("/v1/pools", headers={"Authorization": f"Bearer {operator_key}"}).json()
            assert [(one["model"], one["waiting"]) for one in pools["unserved"]] == [("cpu-files", 1)]
            assert [(pool["name"], pool["held"], pool["wanted"]) for pool in pools["data"]][0] == ("cpu", 1, 0)
            (job,) = succeeded(client, moved)
            assert job["pool"] == "gpu"
            succeeded(client, submit(client, "gpu-noop"))
            ended = until(lambda: (seen := look(client, gone))["done"] and seen, 30)
            assert (ended["status"], ended["error"]["code"]) == ("failed", "unknown_model")


def test_a_caller_is_told_when_a_job_starts_and_when_it_ends(town, third):
    """Once jobs of the model have ended, a job behind four that run has an estimate, and so have these."""
    with town.client as client:
        succeeded(client, *(submit(client, "cpu-sleep", "0.5") for _ in range(3)))
        busy = {who: [submit(who, "cpu-sleep", "30") for _ in range(2)] for who in (client, third)}
        until(lambda: running(client) + running(third) == 4, 30)
        last = submit(third, "cpu-sleep", "0.5")
        told = until(lambda: (job := look(third, last))["eta_s"] and job, 25)
        eta = told["eta_s"]
        assert (told["status"], told["queue_position"], eta["until"]) == ("queued", 1, "start")
        assert 0 <= eta["low"] <= eta["likely"] <= eta["high"]
        assert look(client, busy[client][0])["eta_s"]["until"] == "end"
        for who, ids in busy.items():
            cancel(who, *ids)
        assert succeeded(third, last)[0]["eta_s"] is None
