"""A third pool is a setting: BACKLOT_POOLS names it, models.toml puts a model on it, `python -m worker` runs it."""

import subprocess
import sys

import httpx
import pytest

from api import keyfile
from api.client import Client
from tests.stack import ROOT, environment
from tests.worker.conftest import ENDS_S

POOLS = {"cpu": "cpu", "gpu": "gpu", "gpu-large": "gpu", "cpu-small": "cpu"}
ENTRY = """
[[model]]
kind = "generate"
name = "{pool}-sleep"
algorithm = "tests.models.sleep"
pool = "{pool}"
memory_mb = 600
"""


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text("".join(ENTRY.format(pool=pool) for pool in ("gpu-large", "cpu-small")))
    return path


@pytest.mark.parametrize(("pool", "slots", "runs"), [("gpu-large", 3, "3 threads"), ("cpu-small", 2, "2 processes")])
def test_a_job_runs_on_a_pool_that_a_setting_adds(settings, storage, stack, models, pool, slots, runs):
    """Callers see the pool's name; operators see its worker, with the slots of its sort."""
    stack.settings = settings.model_copy(update={"pools": POOLS, "models": models, "gpu_slots": 3, "cpu_slots": 2})
    key, operator = (keyfile.add(settings.keys_file, *who) for who in (["acme"], ["ops", "operator"]))
    with stack.keeper(), stack.worker(pool) as worker, stack.api() as api:
        caller = Client(api.url, key)
        job = caller.submit("generate", {"prompt": "0.1"}, model=f"{pool}-sleep", wait=ENDS_S)
        assert (job["status"], job["pool"]) == ("succeeded", pool), job["error"]
        assert job["attempts"][0]["worker"].startswith(f"{pool}-")
        assert runs in worker.log()
        asked = httpx.get(
            f"{api.url}/v1/pools/{pool}", headers={"Authorization": f"Bearer {operator}"}, trust_env=False
        )
        seen = asked.json()
        assert (seen["name"], [one["slots"] for one in seen["workers"]]) == (pool, [slots])


@pytest.mark.parametrize(
    ("role", "pools", "told"),
    [
        (
            "gpu-lrge",
            "cpu,gpu-large:gpu",
            "there is no pool 'gpu-lrge'; did you mean gpu-large?; BACKLOT_POOLS has cpu",
        ),
        ("gpu", "cpu", "there is no pool 'gpu'; BACKLOT_POOLS has cpu"),
        ("cpu", "cpu,tpu", "BACKLOT_POOLS: 'tpu' has no sort: write tpu:cpu or tpu:gpu"),
        ("cpu", "cpu,big:tpu", "BACKLOT_POOLS.BIG: Input should be 'cpu' or 'gpu'"),
        ("cpu", "cpu,cpu:gpu", "BACKLOT_POOLS: the pool 'cpu' stands twice"),
        ("keeper", "keeper:cpu", "BACKLOT_POOLS: 'keeper' is the name of another program"),
        ("redis", "cpu,redis:cpu", "BACKLOT_POOLS: 'redis' is the name of another program"),
        ("s3", "cpu,s3:cpu", "BACKLOT_POOLS: 's3' is the name of another program"),
        ("api", "cpu,api:cpu", "BACKLOT_POOLS: 'api' is the name of another program"),
        ("cpu", "cpu,a.b:cpu", "BACKLOT_POOLS.A.B.[KEY]: String should match pattern"),
    ],
)
def test_a_pool_that_is_not_there_is_refused_at_the_start(settings, role, pools, told):
    done = subprocess.run(
        [sys.executable, "-m", "worker", role],
        cwd=ROOT,
        env={**environment(settings), "BACKLOT_POOLS": pools},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(told) and done.stderr.count("\n") == 1
