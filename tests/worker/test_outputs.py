"""Names of outputs: what can be a file's name everywhere is kept as it is, anything else is the model's failure."""

from pathlib import Path

import pytest

from tasks.errors import ModelFailed
from worker.outputs import checked, free_name


def made(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return paths


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "c#d.txt",
        "g?h",
        "100%.txt",
        "%2F",
        "a b",
        "é.txt",
        "\u0645.srt",
        ".hidden",
        "job.json",
        "a'b\"c;d",
        "~",
        "x" * 200,
        "ü" * 100,
    ],
)
def test_a_name_that_is_one_everywhere_is_kept(tmp_path, name):
    files = made(tmp_path, name, "other")
    assert checked(files) == files


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\tb",
        "\x7f",
        "a\x00b",
        "a\u2028b",
        "b\udcffad.txt",
        " a",
        "a ",
        "a\\b",
        ".",
        "..",
        "x" * 201,
        "ü" * 101,
    ],
)
def test_a_name_that_is_none_is_the_models_failure(name):
    with pytest.raises(ModelFailed):
        checked([Path("/folder") / name])


def test_two_files_of_one_name_are_the_models_failure(tmp_path):
    """One of the two was lost without a word."""
    with pytest.raises(ModelFailed, match=r"more than one output of the name 'a\.txt'"):
        checked(made(tmp_path, "left/a.txt", "right/a.txt"))


def test_a_file_that_is_not_there_is_the_models_failure(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelFailed, match="no such file"):
            checked([path])


def test_a_large_results_file_takes_no_models_place():
    assert free_name("result.json", []) == "result.json"
    assert free_name("result.json", [Path("result.json"), Path("result-2.json")]) == "result-3.json"
