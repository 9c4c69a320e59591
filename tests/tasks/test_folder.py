"""Folders of weights that Backlot trained, broken: each is refused in a sentence with the next step and no path."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.algorithm import implementation
from tasks.errors import ModelFailed
from tasks.folder import words
from tasks.registry import Registry

SHIPPED = {
    (model.kind, model.name): model
    for model in Registry.default().models
    if (folder := model.weights_path()) and (folder / "CARD.md").exists() and model.algorithm != "hf"
}
TENSORS = "model.safetensors"


def copied(name: tuple[str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED[name].weights_path(), tmp_path / "weights"))


def refusal(name: tuple[str, str], folder: Path | None) -> str:
    """What the model's algorithm says of the folder, once it is seen to be one sentence without a path."""
    with pytest.raises(ModelFailed) as raised:
        implementation(name[0], SHIPPED[name].algorithm).load(folder, "cpu")
    detail = raised.value.detail
    assert re.fullmatch(r"the model's weights cannot be used: [^;\n]+; [^;\n]{10,}", detail)
    assert not raised.value.retryable and "/tmp" not in detail
    return detail


def test_every_network_that_ships_is_tried_here():
    assert {kind for kind, _ in SHIPPED} == {"transcribe", "caption", "generate"} and len(SHIPPED) >= 9


@pytest.mark.parametrize("name", SHIPPED, ids="/".join)
def test_broken_weights_are_refused_in_a_sentence(name, tmp_path):
    """A file cut short, a Git LFS pointer, a number that is none, tensors of another network, no folder."""
    folder = copied(name, tmp_path)
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[: len(whole) // 2])
    assert f"{TENSORS} ({len(whole) // 2:,} bytes) is cut short" in refusal(name, folder)
    (folder / TENSORS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 5\n")
    assert f"{TENSORS} is a Git LFS pointer" in refusal(name, folder)
    (folder / TENSORS).write_bytes(whole)
    tensors = load_file(folder / TENSORS)
    changed = next(key for key, value in tensors.items() if value.is_floating_point())
    save_file({**tensors, changed: torch.full_like(tensors[changed], torch.nan)}, folder / TENSORS)
    assert f"{changed} has a number that is not finite" in refusal(name, folder)
    fewer = {key: value for key, value in tensors.items() if key != changed}
    save_file(fewer, folder / TENSORS)
    assert f"they are no weights of {SHIPPED[name].algorithm}, or of another release (" in refusal(name, folder)
    assert "models.toml names no folder" in refusal(name, None)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name[0] != "generate"], ids="/".join)
def test_a_broken_config_is_refused_in_a_sentence(name, tmp_path):
    folder = copied(name, tmp_path)
    whole = (folder / "config.json").read_text()
    for text, told in (
        (whole[: len(whole) // 2], "config.json is not JSON"),
        ("[]", "config.json is not a JSON object"),
        ("", "config.json is empty"),
        ("{}", f"they are no weights of {SHIPPED[name].algorithm}, or of another release (KeyError: "),
    ):
        (folder / "config.json").write_text(text)
        assert told in refusal(name, folder)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name[0] == "generate"], ids="/".join)
def test_a_broken_tokenizer_is_refused_in_a_sentence(name, tmp_path):
    """Cut short; and of more tokens than the network has, which was an IndexError in the middle of a job."""
    folder = copied(name, tmp_path)
    whole = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(whole[: len(whole) // 2])
    assert f"they are no weights of {name[1]}" in refusal(name, folder)
    larger = json.loads(whole)
    merges = larger["model"]["merges"]
    merges.append(["th", "th"] if isinstance(merges[0], list) else "th th")
    larger["model"]["vocab"]["thth"] = len(larger["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(larger))
    assert re.search(r"the tokenizer has [\d,]+ tokens and the network [\d,]+; take", refusal(name, folder))


def test_classes_of_another_network_are_refused(tmp_path):
    folder = copied(("caption", "cnn"), tmp_path)
    lines = (folder / "classes.txt").read_text().splitlines()
    last = next(line for line in lines if line.strip().startswith("999 "))
    (folder / "classes.txt").write_text("\n".join(line for line in lines if line != last))
    assert "classes.txt has 999 classes and the network 1,000; take" in refusal(("caption", "cnn"), folder)


def test_weights_of_one_model_are_no_other_models(tmp_path):
    """Of the same files, with other tensors in them."""
    for mine, other in (("lstm", "rnn"), ("rnn", "transformer"), ("transformer", "lstm")):
        told = refusal(("generate", mine), SHIPPED["generate", other].weights_path())
        assert f"they are no weights of {mine}" in told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("No such file: /srv/models/x/model.safetensors", "No such file: model.safetensors"),
        ("see '/a b/weights/config.json'", "see 'the folder/config.json'"),
        ("read https://huggingface.co/docs/transformers and and/or", "read https://huggingface.co/docs/transformers"),
        ("2/3 of ./relative/path", "2/3 of ./relative/path"),
    ],
)
def test_a_librarys_words_lose_their_paths(said, told):
    """URLs and what is no absolute path stay."""
    assert words(ValueError(said), Path("/a b/weights")).startswith(f"ValueError: {told}")
