"""Which models are in memory: loaded once, shared, evicted by least recent use, never while busy."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.errors import ModelFailed
from tests.worker.conftest import counting as model
from worker.loaded import Loaded


def test_ten_at_once_load_a_model_once(loads):
    """All users share one copy."""
    loaded, together = Loaded(1000, wants_gpu=False), threading.Barrier(10)

    def use():
        together.wait(10)
        with loaded.use(model("one")) as batcher:
            return batcher

    with ThreadPoolExecutor(10) as pool:
        batchers = {future.result() for future in [pool.submit(use) for _ in range(10)]}
    assert (len(batchers), loads) == (1, ["cpu"])


def test_over_the_budget_the_least_recently_used_goes(loads):
    """Each counts a MiB at least: with room for two, the third sends the oldest away."""
    loaded = Loaded(2, wants_gpu=False)
    for name in ("a", "b", "a", "c", "a", "b"):
        with loaded.use(model(name)):
            pass
    assert len(loads) == 4  # a, b, c and b again


def test_a_busy_model_stays(loads):
    """Over the budget or not, what is in use is not evicted."""
    loaded = Loaded(1, wants_gpu=False)
    with loaded.use(model("a")) as busy:
        with loaded.use(model("b")):
            pass
        with loaded.use(model("a")) as again:
            assert again is busy
    assert len(loads) == 2


def test_a_missing_library_is_worth_another_try(loads):
    """It may be installed any moment; the error names it."""
    with (
        pytest.raises(ModelFailed, match="lacks a library that generate/x needs: test_loaded.nothing") as raised,
        Loaded(10, wants_gpu=False).use(model("x", "nothing")),
    ):
        pass
    assert raised.value.retryable


def test_weights_that_cannot_be_read_name_the_model(loads):
    """Whatever a load raises fails the job with the model's name, and is tried anew by the next job."""

    def broken(cls, weights, device):
        raise ValueError("header too small")

    sys.modules["test_loaded.counting"].Model.load = classmethod(broken)
    with (
        pytest.raises(ModelFailed, match="generate/x could not be loaded: ValueError: header too small"),
        Loaded(10, wants_gpu=False).use(model("x")),
    ):
        pass
