"""How a process starts: with a mistake in what an operator wrote it says so in a line; one that runs needs no file."""

import subprocess
import sys

import pytest

from tasks.broker import Broker
from tasks.job import Status
from tasks.ledger import keys
from tests.stack import ROOT, Process, environment, until
from tests.worker.conftest import ENDS_S, MODELS, House


@pytest.mark.parametrize("program", [["worker", "cpu"], ["worker", "keeper"], ["api"]], ids=" ".join)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"BACKLOT_LEASE_S": "soon"}, "BACKLOT_LEASE_S: Input should be a valid number"),
        ({"BACKLOT_MODELS": "/nowhere/models.toml"}, "/nowhere/models.toml: No such file or directory"),
    ],
)
def test_a_mistake_is_a_line_not_a_traceback(settings, program, given, told):
    """The same sentence that `make up` gives."""
    done = subprocess.run(
        [sys.executable, "-m", *program],
        cwd=ROOT,
        env={**environment(settings), **given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(told) and done.stderr.count("\n") == 1


def test_a_process_that_is_replaced_needs_no_models_toml(settings, storage, stack, ledger, tmp_path):
    """The file is being edited, and wrong, while a child dies; the next job is done all the same. An entry whose
    algorithm is not there was told at the start, with its line."""
    models = tmp_path / "models.toml"
    models.write_text(MODELS.read_text() + '[[model]]\nkind = "caption"\nname = "gone"\nalgorithm = "no-such"\n')
    with stack.keeper(models=models), stack.worker("cpu", models=models) as worker:
        assert "caption/gone: algorithm: there is no module tasks.caption.no_such" in worker.log()
        house = House(stack, ledger, Broker(settings), storage, {})
        first = house.submit("cpu-sleep", "30", max_attempts=1)
        pid = house.started(first)
        models.write_text("pool = cpu\n")
        subprocess.run(["kill", "-9", str(pid)], check=True)
        assert house.ended(first).error.code == "worker_lost"
        second = house.submit("cpu-noop", "once more")
        until(lambda: house.job(second).done, ENDS_S, "the second job has ended")
        assert house.job(second).status == Status.SUCCEEDED


def test_a_worker_that_is_up_before_the_keeper_waits_for_it(settings, ledger, tmp_path):
    """It says why, a line a round, and serves once this Redis is reconciled with."""
    ledger.redis.delete(keys.EPOCH, keys.EPOCH_REPLID)
    env = environment(settings.model_copy(update={"models": MODELS}))
    worker = Process("early", [sys.executable, "-m", "worker", "cpu"], tmp_path, env)
    try:
        until(lambda: "has not yet reconciled" in worker.log(), 60, "it says that it waits")
        assert worker.alive and not ledger.redis.exists(keys.WORKERS)
        ledger.set_epoch()
        until(lambda: ledger.redis.exists(keys.WORKERS), 60, "it renews")
        assert "Traceback" not in worker.log()
    finally:
        worker.stop()
