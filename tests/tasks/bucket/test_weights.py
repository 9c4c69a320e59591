"""Weights that lie elsewhere: fetched from a real bucket, and from a cache of the hub's as its library lays it out."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from tasks.bucket.weights import Weights
from tasks.errors import ModelFailed
from tasks.registry import Model


def model(weights: str | None, **changes) -> Model:
    return Model(kind="generate", name="story", algorithm="hf", weights=weights, **changes)


@pytest.fixture
def weights(storage, tmp_path) -> Weights:
    return Weights(tmp_path / "cache", storage)


def put(storage, prefix: str, **files: str) -> None:
    for name, text in files.items():
        storage.put_bytes(f"{prefix}/{name.replace('_', '.')}", text.encode(), "application/octet-stream")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shipped_weights_are_where_the_package_is(weights):
    """A relative folder is meant from the kind's own."""
    assert weights.locate(model("lstm")).parts[-4:] == ("tasks", "generate", "weights", "lstm")
    assert weights.locate(model(None)) is None


def test_a_buckets_folder_is_fetched_once(weights, storage):
    """No pickle, no code, nothing that lies deeper; and the second look fetches nothing."""
    put(
        storage,
        "models/story",
        model_safetensors="abc",
        config_json="{}",
        model_bin="pickle",
        model_py="import os",
        **{"onnx/model_json": "{}"},
    )
    named = model(f"s3://{storage.bucket}/models/story")
    folder = weights.locate(named)
    assert names(folder) == ["config.json", "model.safetensors"]
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert weights.locate(named) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_changed_weights_are_fetched_anew(weights, storage):
    """What the bucket says of its objects names the folder."""
    named = model(f"s3://{storage.bucket}/models/story")
    put(storage, "models/story", model_safetensors="abc")
    first = weights.locate(named)
    put(storage, "models/story", model_safetensors="abd")
    assert (weights.locate(named) / "model.safetensors").read_text() == "abd"
    assert (first / "model.safetensors").read_text() == "abc"


def test_a_folder_without_safetensors_is_refused(weights, storage):
    """Other formats can run code when they are read."""
    put(storage, "models/story", model_bin="pickle", config_json="{}")
    with pytest.raises(ModelFailed, match=r"has no \*.safetensors"):
        weights.locate(model(f"s3://{storage.bucket}/models/story"))
    with pytest.raises(ModelFailed, match="nothing lies there"):
        weights.locate(model(f"s3://{storage.bucket}/models/none"))


def test_a_sha256_is_held_against_the_file(weights, storage):
    """The operator's word, checked."""
    put(storage, "models/story", model_safetensors="abc")
    place, right = f"s3://{storage.bucket}/models/story", hashlib.sha256(b"abc").hexdigest()
    assert weights.locate(model(place, sha256=right))
    with pytest.raises(ModelFailed, match=f"have the SHA-256 {right}"):
        weights.locate(model(place, sha256="0" * 64))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The hub's library without a network, over a cache of its own layout that holds tiny/story."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "models--tiny--story", "a" * 40
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (snapshot / "model.safetensors").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    return snapshot


@pytest.mark.parametrize("revision", ["main", "a" * 40])
def test_a_model_of_the_hub_is_found_by_name_and_revision(weights, hub, revision):
    assert weights.locate(model(f"hf://tiny/story@{revision}")) == hub


def test_a_hub_that_cannot_be_reached_is_tried_again(weights, hub):
    """The job waits for another attempt; the error names the model."""
    with pytest.raises(ModelFailed, match="hf://tiny/none@main could not be had from the hub") as raised:
        weights.locate(model("hf://tiny/none@main"))
    assert raised.value.retryable


@pytest.mark.parametrize("wrong", ["hf://tiny/story", "hf://story@main", "https://example.com/model", "s3://bucket"])
def test_other_places_are_no_weights(wrong):
    """A model of the hub is named with its revision, or it could change by itself."""
    with pytest.raises(ValidationError, match="weights"):
        model(wrong)
