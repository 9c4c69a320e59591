"""One tree of errors: who must act stands in the middle of it, every code is one class's, and the drawing is true."""

import re

import pytest

from tasks import errors
from tasks.errors import BacklotError, CallerError, InputUnreachable, InvalidRequest, OperatorError, Stopped


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(sub) for sub in kind.__subclasses__() if sub.__module__ == "tasks.errors"))


MIDDLE = {CallerError, OperatorError, Stopped}
LEAVES = sorted(subclasses(BacklotError) - MIDDLE - {BacklotError}, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", LEAVES, ids=lambda e: e.__name__)
def test_every_error_says_who_must_act(error):
    assert sum(issubclass(error, middle) for middle in MIDDLE) == 1
    assert error.__doc__ and error.code != BacklotError.code


def test_a_code_belongs_to_one_class_and_its_subclasses():
    for code in {error.code for error in LEAVES}:
        same = [error for error in LEAVES if error.code == code]
        assert any(all(issubclass(error, first) for error in same) for first in same), code


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    """Each line of the drawing is a class with that code, and no class is missing."""
    drawn = re.findall(r"[├└]── (\w+) +(\w+)", errors.__doc__)
    named = {name for name, _ in drawn}
    assert named == {error.__name__ for error in subclasses(BacklotError)} - {"BacklotError"}
    for name, code in drawn:
        error = getattr(errors, name)
        if error in LEAVES:
            assert error.code == code


def test_an_error_is_the_same_object_in_answers_and_records():
    assert InputUnreachable("the host is away", retryable=True).as_dict() == {
        "code": "input_unreachable",
        "detail": "the host is away",
        "retryable": True,
    }
    assert str(InputUnreachable("the host is away")) == "the host is away"


def test_retryable_may_be_said_of_one_error_without_changing_its_class():
    assert InputUnreachable("x", retryable=True).retryable
    assert not InputUnreachable("x").retryable and not InputUnreachable.retryable


def test_a_request_with_several_faults_names_the_first_and_counts_the_rest():
    faults = [{"pointer": "/params/k", "detail": "must be 1 or more"}, {"pointer": "/kind", "detail": "unknown"}]
    assert InvalidRequest(faults[:1]).detail == "/params/k: must be 1 or more"
    assert InvalidRequest(faults).detail == "/params/k: must be 1 or more (and 1 more)"
    assert InvalidRequest([{"pointer": "", "detail": "empty"}]).detail == "the request: empty"
    assert InvalidRequest(faults).errors == faults
