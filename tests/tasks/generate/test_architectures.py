"""Decoder architectures, as tiny random checkpoints: our own code writes the tokens of the library's generate().

Here they compute in float64, or float32 where they cannot; test_architectures_float32.py has the rest. A few that stand
for the kinds of cache are in the core, all of them in `make test-checkpoints`.
"""

import warnings

import pytest

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tests.tasks.generate.architectures import ARCHITECTURES, LEFT_OUT, REFUSED, loaded, made, tried, untried

QUICK = {
    "llama": "in one pass",
    "gpt_oss": "in one pass",  # layers with and without a window; experts, which cannot compute in float64
    "bamba": "row by row",  # recurrent layers beside attention
    "mamba": "row by row",  # recurrent layers alone
    "openai-gpt": "row by row",  # no cache
    "llama4_text": "row by row",  # chunks
    "recurrent_gemma": "row by row, with the state of its modules",
    "phi3-longrope": "row by row, with the state of its modules",
}
REST = [pytest.param(name, marks=pytest.mark.checkpoints) for name in ARCHITECTURES if name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *REST])
def test_the_tokens_are_the_librarys_own(name, tmp_path):
    """Alone, in a batch of unequal prompts and n times, with short prompts and with one that fills the context."""
    seen = tried(name, "float64", tmp_path)
    assert not seen.wrong
    assert seen.reads == QUICK.get(name, seen.reads)


def test_one_callers_prompt_changes_no_others_text(tmp_path):
    """A model that keeps its state outside the cache, read again after a long text of somebody else, and beside one."""
    made("recurrent_gemma", tmp_path)
    model = loaded(tmp_path, "float64")

    def written(*prompts: str) -> list[str]:
        calls = [Call.of("generate", {"temperature": 0, "max_tokens": 8, "n": 2}, prompt=prompt) for prompt in prompts]
        return [[choice["text"] for choice in outcome.value["choices"]] for outcome in model.run(calls)]

    (alone,) = written("The dog")
    other = "Lily and Tom went to the park " * 4
    assert written(other, "The dog", other)[1] == alone
    assert written("The dog", "A red ball")[0] == alone
    (before,) = model.run([Call.of("generate", {"mode": "embed"}, prompt="The dog")])
    written(other)
    (after,) = model.run([Call.of("generate", {"mode": "embed"}, prompt="The dog")])
    assert after.value == before.value


@pytest.mark.checkpoints
@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_in_both_directions_is_refused(name, tmp_path):
    """When it is loaded, with what to do."""
    made(name, tmp_path)
    with pytest.raises(ModelFailed, match="both directions"):
        loaded(tmp_path, "float64")


def test_what_transformers_has_and_the_list_does_not_is_told():
    """A new release brings architectures that nobody has tried: they are named, and nothing fails."""
    if untried():
        warnings.warn(f"decoder architectures that were never tried: {', '.join(untried())}", stacklevel=1)
    assert not {*LEFT_OUT} & {*ARCHITECTURES}
