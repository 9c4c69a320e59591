"""Decoder architectures in float32, as models of more than 64 million parameters compute; see test_architectures.py."""

import pytest

from tests.tasks.generate.architectures import ARCHITECTURES, tried

pytestmark = pytest.mark.checkpoints


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tokens_are_the_librarys_own(name, tmp_path):
    """The same as in float64."""
    seen = tried(name, "float32", tmp_path)
    assert seen.kind == "float32" and not seen.wrong
