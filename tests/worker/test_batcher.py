"""The batcher alone: what shares a batch, what does not, and a bad call among good ones. No Redis, no processes."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import InvalidInput, ModelFailed, OutOfMemory
from tasks.generate import Params
from tests.stack import until
from worker.batcher import Batcher, outcomes_of


@dataclass
class Recorder(Algorithm):
    """Notes each batch, answers with the prompt; breaks on 'bad', and waits on `gate` where one is given."""

    gate: threading.Event = field(default_factory=threading.Event)
    batches: list = field(default_factory=list)

    @classmethod
    def load(cls, weights, device):
        return cls()

    def run(self, calls):
        prompts = [call.inputs["prompt"] for call in calls]
        self.batches.append(prompts)
        assert self.gate.wait(10)
        if "bad" in prompts:
            raise RuntimeError("broke on bad")
        return [Result({"text": prompt}) for prompt in prompts]

    def batch_key(self, call):
        return call.params.temperature

    def length(self, call):
        return len(call.inputs["prompt"])


def call(prompt: str, **params) -> Call:
    return Call({"prompt": prompt}, Params(**params), Path("."))


def run_behind_a_busy_batch(size: int, calls: list[Call]) -> tuple[Recorder, list[Future]]:
    """While 'first' runs, all the calls arrive, in order; then everything is let go."""
    algorithm = Recorder()
    batcher = Batcher(algorithm, size)
    pool = ThreadPoolExecutor(len(calls) + 1)
    futures = [pool.submit(batcher.run, call("first"))]
    until(lambda: algorithm.batches)
    for number, one in enumerate(calls, 1):
        futures.append(pool.submit(batcher.run, one))
        until(lambda n=number: len(batcher._line) == n)
    algorithm.gate.set()
    return algorithm, futures


def test_what_arrives_while_a_batch_runs_becomes_the_next():
    """Up to the batch size; every caller gets its own answer."""
    algorithm, futures = run_behind_a_busy_batch(3, [call(c) for c in "abcd"])
    assert [future.result(10).value["text"] for future in futures] == ["first", "a", "b", "c", "d"]
    assert algorithm.batches == [["first"], ["a", "b", "c"], ["d"]]


def test_only_calls_with_equal_keys_share_a_batch():
    """Params that must agree keep calls apart, oldest first."""
    algorithm, futures = run_behind_a_busy_batch(
        4, [call("a", temperature=0), call("b", temperature=1), call("c", temperature=0)])
    [future.result(10) for future in futures]
    assert algorithm.batches == [["first"], ["a", "c"], ["b"]]


def test_like_lengths_go_together_and_the_oldest_always_goes():
    """The oldest call leads; those nearest to it in length fill its batch."""
    algorithm, futures = run_behind_a_busy_batch(2, [call("xx"), call("xxxxxxxxx"), call("yy")])
    [future.result(10) for future in futures]
    assert algorithm.batches == [["first"], ["xx", "yy"], ["xxxxxxxxx"]]


def test_a_lone_call_waits_for_nobody_by_default():
    """batch_wait_ms is 0: it runs at once, alone."""
    algorithm = Recorder()
    algorithm.gate.set()
    assert Batcher(algorithm, 8).run(call("alone")).value == {"text": "alone"}
    assert algorithm.batches == [["alone"]]


def test_the_callers_error_is_its_own():
    """A returned error is raised for the caller it belongs to and for no other."""

    class Picky(Recorder):
        def run(self, calls):
            return [InvalidInput("odd") if c.inputs["prompt"] == "odd" else Result({"text": "fine"}) for c in calls]

    batcher = Batcher(Picky(), 2)
    with pytest.raises(InvalidInput, match="odd"):
        batcher.run(call("odd"))
    assert batcher.run(call("even")).value == {"text": "fine"}


def test_a_model_that_answers_too_few_has_failed():
    """One result for two calls is a defect; each then runs alone."""

    class Short(Recorder):
        def run(self, calls):
            return [Result({"text": "one"})] * (1 if len(calls) > 1 else 0)

    assert all(isinstance(outcome, ModelFailed) for outcome in outcomes_of(Short(), [call("a"), call("b")]))


def test_memory_that_ran_out_is_said_so():
    """MemoryError is the job's own size; torch's error is worth another try on the GPU."""

    class OutOfMemoryError(RuntimeError):
        pass

    class Full(Recorder):
        def run(self, calls):
            raise self.error

    full = Full()
    for full.error, retryable in ((MemoryError("x"), False), (OutOfMemoryError("CUDA"), True)):
        (outcome,) = outcomes_of(full, [call("a")])
        assert isinstance(outcome, OutOfMemory) and outcome.retryable is retryable


@given(st.lists(st.sampled_from(["good", "bad"]), min_size=1, max_size=12))
def test_bad_calls_fail_alone_whatever_their_place(prompts):
    """Splitting finds every bad call and spares every good one."""
    algorithm = Recorder()
    algorithm.gate.set()
    outcomes = outcomes_of(algorithm, [call(prompt) for prompt in prompts])
    assert [isinstance(outcome, ModelFailed) for outcome in outcomes] == [prompt == "bad" for prompt in prompts]
