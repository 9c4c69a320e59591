"""Preloading, on both pools: the first job finds its model in memory; a model that fails to load stops nothing."""

import sys
import threading
from pathlib import Path

from tasks.broker import Broker
from tasks.job import Status
from tests.stack import until
from tests.worker.conftest import ENDS_S, House
from tests.worker.conftest import counting as model
from worker import preload
from worker.loaded import Loaded

MODEL = '[[model]]\nkind = "generate"\nname = "{pool}-{name}"\nalgorithm = "{algorithm}"\npool = "{pool}"\n'


def written(folder: Path, pool: str) -> Path:
    """A models.toml whose first two preloads kill their process and fail."""
    entries = [
        ("fatal", "tests.models.fatal", "preload = true\n"),
        ("absent", "tests.models.no_such", "preload = true\n"),
        ("noop", "tests.models.noop", "preload = true\n"),
        ("files", "tests.models.files", ""),
    ]
    file = folder / "models.toml"
    file.write_text("".join(MODEL.format(pool=pool, name=n, algorithm=a) + more for n, a, more in entries))
    return file


def test_the_first_job_of_a_preloaded_model_loads_nothing(stack, ledger, storage, tmp_path, pool):
    """The model was in memory before the job came. Before it in the file, one preload kills its process and another
    fails: the log says so, and what is not marked is loaded by its own job."""
    models = written(tmp_path, pool)
    with stack.keeper(models=models), stack.worker(pool, models=models) as worker:
        until(lambda: f"loaded generate/{pool}-noop" in worker.log(), ENDS_S, "the third model is preloaded")
        told = worker.log()
        left = "is not preloaded and is left to its first job"
        assert f"generate/{pool}-fatal {left}: a process of this worker has ended while it was preloaded" in told
        assert f"generate/{pool}-absent {left}: the worker lacks a library" in told
        assert f"loaded generate/{pool}-files" not in told
        house = House(stack, ledger, Broker(stack.settings), storage, {})
        warm, cold = house.submit(f"{pool}-noop", "now"), house.submit(f"{pool}-files", "1 a.txt")
        assert house.ended(warm).status == house.ended(cold).status == Status.SUCCEEDED
        assert house.job(warm).metrics.load_s == 0  # its phase `loading` never began
        assert house.job(cold).metrics.load_s > 0
        assert worker.log().count(f"loaded generate/{pool}-noop") == 1


def test_a_preload_without_room_is_left_to_its_first_job(loads, tmp_path, caplog):
    """With room for two, the third in the file gives way, not the first; a job of it evicts as any job does."""
    loaded = Loaded(2, wants_gpu=False)
    preload.load_all(loaded, [model("a"), model("b"), model("c")], tmp_path / "preloading")
    assert "generate/c is not preloaded" in caplog.text and "BACKLOT_MODELS_MB" in caplog.text
    loads.clear()
    for name in ("a", "b"):
        with loaded.use(model(name)):
            pass
    assert loads == []
    for name in ("c", "a"):
        with loaded.use(model(name)):
            pass
    assert len(loads) == 2  # c, and a, which gave way to it


def test_a_preload_that_hangs_is_left_to_its_first_job(loads, tmp_path, caplog):
    """Past load_timeout_s a job loads it itself, and what comes of the preload in the end is thrown away."""
    go_on = threading.Event()

    class Hanging(sys.modules["test_loaded.counting"].Model):
        @classmethod
        def load(cls, weights, device):
            if threading.current_thread().name == "preload":
                go_on.wait(ENDS_S)
            return super().load(weights, device)

    sys.modules["test_loaded.counting"].Model = Hanging
    loaded = Loaded(10, wants_gpu=False)
    hasty = model("a").model_copy(update={"load_timeout_s": 0.2})
    try:
        preload.load_all(loaded, [hasty], tmp_path / "preloading")
        assert "generate/a is not preloaded" in caplog.text and "load_timeout_s = 0.2 s" in caplog.text
        with loaded.use(model("a")) as batcher:
            assert loads == ["cpu"]
    finally:
        go_on.set()
    until(lambda: loads == ["cpu", "cpu"], ENDS_S, "the preload comes to its end after all")
    with loaded.use(model("a")) as again:
        assert again is batcher  # the late one does not take its place
