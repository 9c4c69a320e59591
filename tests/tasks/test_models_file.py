"""A mistake in models.toml is named with file, line and key; all mistakes at once."""

import pytest

from tasks.models_file import Misconfigured
from tasks.registry import Registry

GOOD = """\
# models
[[model]]
kind = "caption"
name = "own"
algorithm = "cnn-lstm"
description = '''
[[model]]
pool = "of many lines" '''
"""


def faults(tmp_path, text: str | bytes) -> list[str]:
    """The lines of the error, without the folder."""
    path = tmp_path / "models.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Misconfigured) as raised:
        Registry.read(path)
    return [line.removeprefix(f"{tmp_path}/") for line in str(raised.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (GOOD + "pool = cpu\n", "models.toml:9:8: Invalid value"),
        (GOOD + "pool = \n", "models.toml:9:8: Invalid value"),
        (GOOD + 'weigths = "x"\n', "models.toml:9: caption/own: weigths: there is no such key; did you mean weights?"),
        (GOOD + 'pool = "T.PU"\n', "models.toml:9: caption/own: pool: String should match pattern"),
        (GOOD + 'sha256 = "' + "0" * 64 + '"\n', "models.toml:2: caption/own: sha256 is given without weights (it is "),
        (GOOD + '[[model]]\nkind = "caption"\nalgorithm = "x"\n', "models.toml:9: caption/?: name: it is missing"),
        (GOOD + GOOD, "models.toml:12: caption/own: name: there is more than one model caption/own"),
        (GOOD + '"memory_mb" = "much"\n', "models.toml:9: caption/own: memory_mb: Input should be a valid integer"),
        (GOOD + "\n[[modle]]\nkind = 'caption'\n", "models.toml:10: modle: there is no such key; did you mean model?"),
        ("pool = 'cpu'\n" + GOOD, "models.toml:1: pool: there is no such key"),
        (b"# caf\xe9\n", "models.toml: it is not UTF-8: byte 5"),
    ],
)
def test_a_mistake_has_its_place(tmp_path, text, wrong):
    """Texts of many lines may hold what looks like a table."""
    (line,) = faults(tmp_path, text)
    assert line.startswith(wrong), line


def test_all_mistakes_are_told_at_once(tmp_path):
    """Two entries, three mistakes; a second default is one."""
    text = GOOD + 'batch = 0\nspeed = 1\n[[model]]\nkind = "sing"\nname = "b"\nalgorithm = "x"\n'
    assert [line.split(":")[1] for line in faults(tmp_path, text)] == ["9", "10", "12"]
    two = GOOD + "default = true\n" + GOOD.replace("own", "other") + "default = true\n"
    assert faults(tmp_path, two) == [
        "models.toml:18: caption/other: default: there is more than one default model of kind caption"
    ]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Misconfigured, match="nowhere.toml: No such file"):
        Registry.read(tmp_path / "nowhere.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    """Some editors write one."""
    (tmp_path / "models.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert [model.key for model in Registry.read(tmp_path / "models.toml").models] == ["caption/own"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (
            'algorithm = "cnn-lstmm"',
            "models.toml:4: caption/x: algorithm: there is no module tasks.caption.cnn_lstmm; "
            "did you mean tasks.caption.cnn_lstm?",
        ),
        ('algorithm = "studio_of_mine.captions"', "models.toml:4: caption/x: algorithm: there is no module studio_"),
        ('algorithm = "json.nothing"', "models.toml:4: caption/x: algorithm: there is no module json.nothing"),
        ('algorithm = "cnn-lstm"\nweights = "nowhere"', "models.toml:5: caption/x: weights: there is nothing at /"),
    ],
)
def test_what_this_machine_does_not_have_is_told_with_its_place(tmp_path, line, wrong):
    """Reading the file is no error: an API without the algorithms is right."""
    path = tmp_path / "models.toml"
    path.write_text(f'[[model]]\nkind = "caption"\nname = "x"\n{line}\n')
    (told,) = Registry.read(path).absent()
    assert told.removeprefix(f"{tmp_path}/").startswith(wrong), told
    assert Registry.read(path).absent("gpu") == []


def test_nothing_that_ships_is_absent():
    assert Registry.default().absent() == []
