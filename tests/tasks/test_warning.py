"""Warning codes: those that the code of a kind makes are those that its contract lists and docs/api.md shows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.registry import KINDS, contract
from tests.stack import ROOT


def made(path: Path) -> Iterator[str]:
    """First arguments of the calls of warning() in a file; each must be a text, so that it can be read here."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "warning":
            assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the code of a warning is a constant"
            yield node.args[0].value


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_lists_the_warnings_that_are_made(kind):
    """No code is made that callers cannot look up, and none is listed that nothing makes."""
    files = [*(ROOT / "tasks" / kind).glob("*.py")]
    assert {code for path in files for code in made(path)} == {*contract(kind).warnings}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_warnings_in_its_result(kind):
    """A result without any has an empty list."""
    assert contract(kind).result.model_json_schema()["properties"]["warnings"]["type"] == "array"
