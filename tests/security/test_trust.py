"""What could run code when it is read is not read: Celery takes JSON alone, weights are safetensors alone."""

import ast
import base64
import json
import pickle
import uuid
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from tasks.broker import DOORBELL, Broker, celery_app
from tasks.bucket.weights import Weights
from tasks.errors import ModelFailed
from tasks.ids import new_id
from tasks.job import Fixed, Job
from tasks.registry import Model
from tests.stack import ROOT, until
from tests.test_boundaries import MODULES, named
from tests.worker.conftest import MODELS

QUEUE = "cpu.generate"


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def message(body: bytes, content_type: str, encoding: str = "binary") -> str:
    """As kombu lays one into a list of Redis."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": content_type,
            "content-encoding": encoding,
            "headers": {"task": DOORBELL, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": "", "kwargsrepr": ""},
            "properties": {
                "correlation_id": str(uuid.uuid4()),
                "delivery_mode": 2,
                "priority": 0,
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def test_the_trap_is_real(tmp_path):
    """Unpickled, it makes its file; so that the file's absence below says something."""
    pickle.loads(pickle.dumps(([QUEUE], {"a": Trap(tmp_path / "made")}, {})))
    assert (tmp_path / "made").exists()


def test_a_pickled_message_is_never_unpickled_and_the_worker_lives(stack, settings, ledger, tmp_path):
    """By Celery's own client and laid by hand, under every name that pickle and YAML go by; then a job runs."""
    marker = tmp_path / "made"
    traps = pickle.dumps(([QUEUE], {"a": Trap(marker)}, {}))
    opened = yaml.dump([[QUEUE], {}, {}]).encode() + f"- !!python/object/apply:os.mkdir ['{marker}']\n".encode()
    with stack.worker("cpu", models=MODELS, cpu_slots=1) as worker:
        celery = celery_app(settings, ringing=True)
        celery.send_task(DOORBELL, args=[QUEUE], kwargs={"a": Trap(marker)}, queue=QUEUE, serializer="pickle")
        for kind in ("application/x-python-serialize", "application/x-pickle", "pickle", "application/python-pickle"):
            ledger.redis.lpush(QUEUE, message(traps, kind))
        ledger.redis.lpush(QUEUE, message(opened, "application/x-yaml", "utf-8"))
        ledger.redis.lpush(QUEUE, message(traps, "application/json", "utf-8"))
        until(lambda: ledger.redis.llen(QUEUE) == 0, 60, "all messages are taken")
        job = Fixed(
            id=new_id("job"),
            tenant="acme",
            kind="generate",
            model="cpu-noop",
            pool="cpu",
            input={"prompt": "x"},
            params={},
            queue_ttl_s=600,
            run_timeout_s=60,
            retention_s=3600,
            max_attempts=3,
        )
        ledger.submit(job)
        Broker(settings).ring(QUEUE)
        until(lambda: Job.of_record(ledger.record(job.id)).done, 60, "the job has ended")
        assert Job.of_record(ledger.record(job.id)).status == "succeeded"
        assert worker.alive and not marker.exists()


# -- weights


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The hub's library without a network, over a cache that holds tiny/old in other formats."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--tiny--old"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return snapshot


def trapped(weights: str) -> Model:
    return Model(kind="generate", name="old", algorithm="hf", weights=weights)


OTHER_FORMATS = [
    "pytorch_model.bin",
    "model.pt",
    "model.pth",
    "model.ckpt",
    "model.h5",
    "model.pkl",
    "model.npz",
    "model.gguf",
    "modeling.py",
]


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_weights_of_another_format_are_refused(name, hub, storage, tmp_path):
    """From the hub and from a bucket; nothing of them reaches the machine from the bucket, nothing is opened."""
    marker, trap = tmp_path / "made", tmp_path / "trap"
    trap.write_bytes(pickle.dumps(Trap(marker)))
    (hub / name).write_bytes(trap.read_bytes())
    (hub / "config.json").write_text("{}")
    storage.put_file(f"models/old/{name}", trap, "application/octet-stream")
    storage.put_bytes("models/old/config.json", b"{}", "application/json")
    weights = Weights(tmp_path / "cache", storage)
    for place in ("hf://tiny/old@main", f"s3://{storage.bucket}/models/old"):
        with pytest.raises(ModelFailed, match=r"has no \*\.safetensors; other formats are not loaded"):
            weights.locate(trapped(place))
    assert list((tmp_path / "cache").rglob(name)) == [] and not marker.exists()


# -- the code itself


FORBIDDEN = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "torch.package",
    "torch.hub",
}
RUNS_CODE = {"eval", "exec", "__import__", "compile"}
TRAINING = ("worker/train.py",)


def calls(tree: ast.AST):
    """Each call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(node: ast.Call, tree: ast.AST) -> dict[str, object]:
    """The keyword arguments that are constants, also those that come by ** from a dict of the same file."""
    dicts = {
        target.id: n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict)
        for target in n.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for keyword in node.keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id in dicts:
            known = dicts[keyword.value.id]
            found |= {
                k.value: v.value
                for k, v in zip(known.keys, known.values, strict=True)
                if isinstance(k, ast.Constant) and isinstance(v, ast.Constant)
            }
        elif isinstance(keyword.value, ast.Constant):
            found[keyword.arg] = keyword.value.value
    return found


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_reads_what_could_run_code(path):
    """No pickle by any name, no eval; torch.load only of a training's own checkpoint, and only its tensors; a hub's
    library with its safeties on."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        modules = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else (
                [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        )
        assert not FORBIDDEN & set(modules)
    for name, node in calls(tree):
        keywords = given(node, tree)
        assert name not in RUNS_CODE, f"line {node.lineno}: {name}"
        assert not name.startswith(("torch.hub.", "torch.package.")) and name not in ("torch.jit.load", "yaml.load")
        assert keywords.get("allow_pickle", False) is False and keywords.get("trust_remote_code", False) is False
        if name == "torch.load":
            assert named(path) in TRAINING and keywords.get("weights_only") is True
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") is False
        if name.endswith(".from_pretrained"):
            assert keywords.get("trust_remote_code") is False and keywords.get("local_files_only") is True
            if name.startswith("AutoModel"):
                assert keywords.get("use_safetensors") is True


def test_nothing_in_the_configuration_trusts_code():
    """Nor do the model lists, the deployment or the project's own file."""
    for path in [*ROOT.glob("tasks/*.toml"), *ROOT.glob("deploy/**/*.py"), ROOT / "pyproject.toml"]:
        text = path.read_text()
        assert "trust_remote_code" not in text and "pickle" not in text, path


def test_celery_takes_json_alone(settings):
    celery = celery_app(settings, ringing=False)
    assert set(celery.conf.accept_content) == {"json"} and celery.conf.task_serializer == "json"
    assert celery.conf.result_backend is None and (celery.conf.result_accept_content or ["json"]) == ["json"]
