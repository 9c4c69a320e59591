"""Broken weights, seen by a caller: one attempt, a sentence, no path; the worker serves its other models."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import keyfile
from api.client import Client
from tasks.registry import Registry
from tests.stack import Process, Stack, make_settings, make_storage

pytestmark = pytest.mark.checkpoints

WHOLE = Registry.default()
ENDS_S = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Folders of weights, and the models.toml that names them."""
    folder = tmp_path_factory.mktemp("place-of-weights")
    stories, lstm = (WHOLE.model("generate", name).weights_path() for name in ("stories", "lstm"))
    for name, source in (
        ("whole", stories),
        ("layers", stories),
        ("adapter", stories),
        ("beams", stories),
        ("cut", lstm),
    ):
        shutil.copytree(source, folder / name)
    config = json.loads((folder / "layers/config.json").read_text())
    (folder / "layers/config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    (folder / "adapter/adapter_config.json").write_text("{}")
    sampling = json.loads((folder / "beams/generation_config.json").read_text())
    (folder / "beams/generation_config.json").write_text(json.dumps({**sampling, "num_beams": 4, "do_sample": False}))
    (folder / "cut/model.safetensors").write_bytes((lstm / "model.safetensors").read_bytes()[:1000])
    algorithms = {"whole": "hf", "beams": "hf", "layers": "hf", "adapter": "hf", "gone": "hf", "cut": "lstm"}
    (folder / "models.toml").write_text(
        "\n".join(
            f'[[model]]\nkind = "generate"\nname = "{name}"\nalgorithm = "{algorithm}"\nweights = "{folder / name}"'
            for name, algorithm in algorithms.items()
        )
    )
    return folder


@pytest.fixture(scope="module")
def served(redis_server, s3_server, place, tmp_path_factory) -> Iterator[tuple[Client, Process]]:
    """A client, and the one worker, whose one process runs all models."""
    folder = tmp_path_factory.mktemp("logs")
    bucket = f"broken-{uuid.uuid4().hex[:12]}"
    settings = make_settings(
        redis_server.for_a_stack(), s3_server, bucket, folder, models=place / "models.toml", cpu_slots=1, retry_s=0.2
    )
    make_storage(settings)
    key, stack = keyfile.add(settings.keys_file, "acme"), Stack(settings, folder)
    with stack.keeper(), stack.worker("cpu") as worker, stack.api() as api:
        yield Client(api.url, key), worker


def test_a_caller_is_told_once_and_other_models_are_served(served, place):
    """As the job, its list and the models' list show it; the worker's log names the folder."""
    client, worker = served
    for name, told in (
        ("layers", "lack 36 tensors of a LlamaForCausalLM"),
        ("adapter", "holds an adapter (LoRA)"),
        ("gone", "is not on this worker"),
        ("cut", "model.safetensors (1,000 bytes) is cut short"),
    ):
        job = client.submit("generate", {"prompt": "Once"}, model=name, wait=ENDS_S)
        assert (job["status"], job["error"]["code"], job["error"]["retryable"]) == ("failed", "model_failed", False)
        assert told in job["error"]["detail"] and "; " in job["error"]["detail"]
        assert len(job["attempts"]) == 1
        assert str(place) not in json.dumps(job) and place.name not in json.dumps(job)
        assert str(place / name) in worker.log()
    good = client.submit("generate", {"prompt": "Once"}, model="whole", params={"max_tokens": 4}, wait=ENDS_S)
    assert good["status"] == "succeeded" and good["result"]["text"], good["error"]
    assert place.name not in json.dumps(client.models())


def test_what_a_checkpoint_asks_for_is_done_or_told(served):
    """Its generation_config takes the likeliest token, as a caller may ask too, among beams, which is not done."""
    client, _ = served
    params = {"max_tokens": 12}
    own = client.submit("generate", {"prompt": "Once"}, model="beams", params=params, wait=ENDS_S)["result"]
    assert [warned["code"] for warned in own["warnings"]] == ["sampling_ignored"]
    assert "num_beams" in own["warnings"][0]["detail"]
    asked = {**params, "temperature": 0}
    greedy = client.submit("generate", {"prompt": "Once"}, model="whole", params=asked, wait=ENDS_S)["result"]
    assert own["text"] == greedy["text"] and greedy["warnings"] == []
