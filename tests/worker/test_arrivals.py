"""Calls on their way, as a batcher asks for them."""

import pytest

from tasks.registry import Model, Registry
from tests.conftest import make_worker
from worker.arrivals import Arrivals
from worker.run import Runner
from worker.slot import Slot


def test_a_slot_that_fetches_for_a_model_is_expected_by_that_model_alone():
    """Until its call is there."""
    arrivals = Arrivals()
    arrivals.expect("w:1", "generate/stories")
    assert arrivals.soon("generate/stories", 60) and not arrivals.soon("caption/cnn", 60)
    arrivals.came("w:1")
    assert not arrivals.soon("generate/stories", 60)


def test_a_slot_that_claims_may_bring_a_call_of_any_model():
    """Nobody knows yet; afterwards it is that of the job's model."""
    arrivals = Arrivals()
    arrivals.expect("w:1")
    assert arrivals.soon("generate/stories", 60) and arrivals.soon("caption/cnn", 60)
    arrivals.expect("w:1", "caption/cnn")
    assert not arrivals.soon("generate/stories", 60)


def test_what_has_lasted_longer_than_the_patience_is_not_waited_for():
    """A large file is still being fetched."""
    arrivals = Arrivals()
    arrivals.expect("w:1", "transcribe/whisper")
    assert not arrivals.soon("transcribe/whisper", 0)


def test_a_slot_is_forgotten_twice_without_harm():
    Arrivals().came("w:1")


@pytest.mark.parametrize(("slots", "batch", "expected"), [(4, 8, True), (1, 8, False), (4, 1, False)])
def test_jobs_that_wait_for_a_slot_which_is_being_woken_are_on_their_way(
    settings, ledger, storage, fixed, tmp_path, slots, batch, expected
):
    """So the first batch of a burst is no batch of one; until the last is claimed, where a slot is free for it and the
    model takes batches."""
    model = Model(kind="generate", name="lstm", algorithm="tests.models.noop", batch=batch)
    quick = settings.model_copy(update={"linger_s": 0})
    runner = Runner(quick, make_worker(), tmp_path / "scratch", Registry([model]), slots)
    for _ in range(2):
        ledger.submit(fixed())
    seen = []
    for number in range(2):
        slot = Slot(f"w1:1:1:{number}", tmp_path / str(number))
        assert runner._claim(slot)
        runner.arrivals.came(slot.name)
        seen.append(runner.arrivals.soon(model.key, 60))
    assert seen == [expected, False]
