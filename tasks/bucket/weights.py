"""Locates a model's weights on this machine; fetches them first from a hub or a bucket.

Only safetensors and what belongs to them (JSON, vocabularies, chat templates, the model card) is fetched: no pickle, no
code. It knows nothing of what the weights are for.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tasks.bucket.storage import Object, Storage
from tasks.errors import ModelFailed, NotFound
from tasks.registry import ELSEWHERE, Model

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "README.md")
FILE_MAX_BYTES = 64 * 2**30
"""Bytes of one file of weights, at most."""


class Weights:
    """Downloads weights into `cache`, once a machine; the hub's library keeps its own cache (HF_HOME)."""

    def __init__(self, cache: Path, storage: Storage) -> None:
        self.cache, self.storage = cache, storage

    def locate(self, model: Model) -> Path | None:
        """The folder of the weights; None where the model has none.

        Errors: ModelFailed where they are not there, are no safetensors, or are not those that `sha256` names;
        StorageUnavailable.
        """
        elsewhere = model.weights and ELSEWHERE.match(model.weights)
        folder = self._fetched(model, model.weights) if model.weights and elsewhere else model.weights_path()
        if folder and model.sha256:
            _check(model, folder / "model.safetensors")
        return folder

    def _fetched(self, model: Model, weights: str) -> Path:
        scheme, _, rest = weights.partition("://")
        folder = self._from_hub(model, rest) if scheme == "hf" else self._from_bucket(model, rest)
        if not any(folder.glob("*.safetensors")):
            raise ModelFailed(f"{weights} has no *.safetensors; other formats are not loaded")
        return folder

    def _from_hub(self, model: Model, name: str) -> Path:
        from huggingface_hub import snapshot_download  # heavy, and only for these

        repository, _, revision = name.partition("@")
        try:
            return Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
        except Exception as error:  # the library raises its own, httpx's, and OSError
            raise ModelFailed(
                f"{model.weights} could not be had from the hub: {type(error).__name__}: {error}"[:300], retryable=True
            ) from error

    def _from_bucket(self, model: Model, place: str) -> Path:
        """The folder is named by what the bucket says of its objects, so that changed weights are fetched anew."""
        bucket, _, prefix = place.partition("/")
        prefix = prefix.rstrip("/") + "/"
        found = [seen for seen in self.storage.list(prefix, bucket) if _wanted(seen.key.removeprefix(prefix))]
        folder = self.cache / "weights" / _digest(bucket, found)
        if not found:
            raise ModelFailed(f"{model.weights}: nothing lies there")
        if not folder.exists():
            self._download(bucket, prefix, found, folder)
        return folder

    def _download(self, bucket: str, prefix: str, found: list[Object], folder: Path) -> None:
        """Downloads into a scratch folder and renames it: another process may read or fetch the same weights."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            for seen in found:
                self.storage.get_file(seen.key, scratch / seen.key.removeprefix(prefix), FILE_MAX_BYTES, bucket)
            if not folder.exists():
                os.rename(scratch, folder)
        except NotFound as error:
            raise ModelFailed(f"the weights changed while they were fetched: {error.detail}", retryable=True) from error
        except OSError:
            if not folder.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _wanted(name: str) -> bool:
    """Files of the folder itself; what lies deeper is another model's or another format."""
    return "/" not in name and any(Path(name).match(pattern) for pattern in WANTED)


def _digest(bucket: str, found: list[Object]) -> str:
    said = "\n".join([bucket, *(f"{seen.key} {seen.bytes} {seen.etag}" for seen in found)])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _check(model: Model, path: Path) -> None:
    if not path.exists():
        raise ModelFailed(f"{model.key} has no model.safetensors, of which its sha256 would be")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise ModelFailed(f"the weights of {model.key} have the SHA-256 {found}; models.toml says {model.sha256}")
