"""Calls on their way, as a batcher asks for them."""

from worker.arrivals import Arrivals


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
