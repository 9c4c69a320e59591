"""The batcher alone: what shares a batch, what does not, and a bad call among good ones. No Redis, no processes."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.algorithm import Algorithm, Call, Result
from tasks.errors import Canceled, InvalidInput, ModelFailed, OutOfMemory
from tasks.generate import Params
from tests.stack import until
from worker.batcher import FIRST_PATIENCE_S, Batcher, Turn, answer_all


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


def outcomes_of(algorithm: Algorithm, calls: list[Call]) -> list:
    """What each call of one batch is answered."""
    turns = [Turn(call, None, 0) for call in calls]
    answer_all(algorithm, turns)
    return [answer_of(turn) for turn in turns]


def answer_of(turn: Turn):
    assert turn.outcome.done()
    return turn.outcome.result()


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
        4, [call("a", temperature=0), call("b", temperature=1), call("c", temperature=0)]
    )
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


def test_a_batch_that_is_not_full_waits_for_a_call_on_its_way(monkeypatch):
    """It is still being fetched when the first is there; both run together."""
    monkeypatch.setattr("worker.batcher.FIRST_PATIENCE_S", 60)
    algorithm, coming, asked = Recorder(), threading.Event(), threading.Event()
    algorithm.gate.set()
    coming.set()

    def soon(within_s):
        asked.set()
        return coming.is_set()

    batcher = Batcher(algorithm, 8, soon=soon)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.run, call("first"))
        assert asked.wait(10) and not algorithm.batches
        second = pool.submit(batcher.run, call("second"))
        until(lambda: len(batcher._line) == 2)
        coming.clear()
        first.result(10), second.result(10)
    assert algorithm.batches == [["first", "second"]]


def test_a_full_batch_waits_for_nobody(monkeypatch):
    """However many more are on their way."""
    monkeypatch.setattr("worker.batcher.FIRST_PATIENCE_S", 60)
    algorithm = Recorder()
    algorithm.gate.set()
    batcher = Batcher(algorithm, 2, soon=lambda within_s: True)
    with ThreadPoolExecutor(2) as pool:
        [future.result(10) for future in [pool.submit(batcher.run, call(prompt)) for prompt in "ab"]]
    assert [len(batch) for batch in algorithm.batches] == [2]


def test_a_call_that_does_not_come_costs_a_batch_little():
    """Always one on its way that never is there: the patience ends, and is a part of the time of the batch before."""
    algorithm = Recorder()
    algorithm.gate.set()
    batcher = Batcher(algorithm, 8, soon=lambda within_s: True)
    assert batcher.run(call("alone")).value == {"text": "alone"}
    until(lambda: batcher._patience_s < FIRST_PATIENCE_S)
    assert batcher.run(call("again")).value == {"text": "again"}


def test_a_call_that_does_not_come_is_given_up_where_a_wait_with_a_timeout_never_ends(monkeypatch):
    """As under libfaketime, which gives Python a monotonic clock that the system's locks do not have."""
    algorithm = Recorder()
    algorithm.gate.set()
    batcher = Batcher(algorithm, 8, soon=lambda within_s: True)
    wait = batcher._changed.wait
    monkeypatch.setattr(batcher._changed, "wait", lambda timeout=None: wait(0 if timeout == 0 else None))
    with ThreadPoolExecutor(1) as pool:
        try:
            assert pool.submit(batcher.run, call("alone")).result(10).value == {"text": "alone"}
        finally:
            batcher.close()


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


def test_a_batch_that_raises_is_not_run_again_for_what_was_answered():
    """A call may be answered before the batch is done; its job has gone on, and another uses its folder."""

    class Early(Recorder):
        def run(self, calls):
            self.batches.append([call.inputs["prompt"] for call in calls])
            if len(calls) > 1:
                calls[0].answer(Result({"text": "early"}))
                raise RuntimeError("the rest of the batch")
            return [Result({"text": calls[0].inputs["prompt"]})]

    algorithm = Early()
    turns = [Turn(call(prompt), None, 0) for prompt in "abc"]
    for turn in turns:
        turn.call = replace(turn.call, answer=turn.answer)
    answer_all(algorithm, turns)
    assert answer_of(turns[0]).value == {"text": "early"}
    assert "a" not in sum(algorithm.batches[1:], [])
    assert answer_of(turns[2]).value == {"text": "c"}


@pytest.mark.parametrize("size", [1, 4])
def test_a_stopped_call_leaves_the_line_at_once_while_another_batch_computes(size):
    """Its caller is answered; the algorithm never sees it; those behind it are served."""
    algorithm = Recorder()
    batcher = Batcher(algorithm, size)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, call("first"))
        until(lambda: algorithm.batches)
        turn = batcher.enter(call("stopped"))
        stopped = pool.submit(batcher.result, turn)
        last = pool.submit(batcher.run, call("last"))
        until(lambda: len(batcher._line) == 2)
        batcher.leave(turn)
        with pytest.raises(Canceled):
            stopped.result(10)
        assert not first.done() and not last.done()
        algorithm.gate.set()
        assert (first.result(10).value["text"], last.result(10).value["text"]) == ("first", "last")
    assert algorithm.batches == [["first"], ["last"]]


def test_the_phase_of_a_call_begins_with_its_batch():
    """Not while it waits in the line."""
    algorithm, begun = Recorder(), []
    batcher = Batcher(algorithm, 2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.result, batcher.enter(call("first"), lambda: begun.append("first")))
        until(lambda: algorithm.batches)
        second = pool.submit(batcher.result, batcher.enter(call("second"), lambda: begun.append("second")))
        assert begun == ["first"]
        algorithm.gate.set()
        first.result(10), second.result(10)
    assert begun == ["first", "second"]


@pytest.mark.parametrize("raised", [SystemExit(1), RuntimeError("x"), BaseException("as of a Rust library")])
@pytest.mark.parametrize("size", [1, 2])
def test_whatever_a_model_raises_the_batcher_lives(size, raised):
    """An answer to its caller, and the next call is served."""

    class Raising(Recorder):
        def run(self, calls):
            if calls[0].inputs["prompt"] == "bad":
                raise raised
            return [Result({"text": "fine"}) for _ in calls]

    batcher = Batcher(Raising(), size)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ModelFailed):
            pool.submit(batcher.run, call("bad")).result(10)
        assert pool.submit(batcher.run, call("good")).result(10).value == {"text": "fine"}


def test_keys_that_cannot_be_compared_cost_their_calls_alone():
    """An algorithm of an operator's own may have such; its batcher's thread lives on."""

    class Odd(Recorder):
        def batch_key(self, call):
            return Key() if call.inputs["prompt"] == "odd" else 1

    class Key:
        def __eq__(self, other):
            raise TypeError("not to be compared")

    algorithm = Odd()
    algorithm.gate.set()
    batcher = Batcher(algorithm, 2)
    with pytest.raises(ModelFailed, match="not to be compared"):
        batcher.run(call("odd"))
    assert batcher.run(call("even")).value == {"text": "even"}
