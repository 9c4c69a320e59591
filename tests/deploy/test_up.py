"""`make up`, `status` and `down`, really, from a copy of the tree: a mistake in what a person edits stops nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import ROOT

MODELS = """\
[[model]]
kind = "recommend"
name = "content"
algorithm = "content"

[[model]]
kind = "generate"
name = "stories"
algorithm = "hf"
pool = "gpu"
weights = "stories260k"
"""
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """With a models.toml of its own, so that no process loads much."""
    root = tmp_path_factory.mktemp("up") / "back lot"
    for folder in ("api", "tasks", "worker", "deploy"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "samples"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    (root / "models.toml").write_text(MODELS)
    return root


@pytest.fixture(scope="module")
def local(checkout) -> Iterator[Callable[..., tuple[int, str]]]:
    """local("up", BACKLOT_LEASE_S="5") is the exit status and what is shown."""

    def run(command: str, **env: str) -> tuple[int, str]:
        env = {**os.environ, "BACKLOT_MODELS": "models.toml", "BACKLOT_CPU_SLOTS": "1", **env}
        done = subprocess.run(
            [sys.executable, "-m", "deploy.local", command],
            cwd=checkout,
            text=True,
            timeout=300,
            capture_output=True,
            env=env,
        )
        return done.returncode, done.stdout + done.stderr

    try:
        yield run
    finally:
        run("down")


def pids(checkout: Path) -> str:
    """Of all programs, as supervisord has them."""
    command = [
        sys.executable,
        "-m",
        "supervisor.supervisorctl",
        "-c",
        ".backlot/supervisord.conf",
        "-s",
        "unix://.backlot/supervisor.sock",
        "pid",
        "all",
    ]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout


def test_before_anything_is_started_a_mistake_is_told(local, checkout):
    """Of an environment, too; and a stack that is down is no error."""
    assert local("status") == (0, "The stack is down. Start it with: make up\n")
    status, shown = local("up", BACKLOT_LEASE_S="soon")
    assert status == 1 and shown.startswith("BACKLOT_LEASE_S: ") and "Nothing was started or stopped" in shown
    assert local("status")[0] == 0 and not (checkout / ".backlot" / "supervisor.sock").exists()


def test_a_mistake_in_what_a_person_edits_leaves_a_healthy_stack_as_it_is(local, checkout):
    """models.toml, a setting, the key file; then the good file again."""
    status, shown = local("up", BACKLOT_LEAS_S="5")
    assert status == 0, shown
    assert "BACKLOT_LEAS_S is no setting; did you mean BACKLOT_LEASE_S?" in shown
    before = pids(checkout)
    models, keys = checkout / "models.toml", checkout / ".backlot" / "keys.json"
    known = keys.read_text()
    for path, text, told in (
        (models, MODELS.replace('pool = "gpu"', "pool = gpu"), "models.toml:10:8: Invalid value"),
        (
            models,
            MODELS.replace("pool =", "pol ="),
            "models.toml:10: generate/stories: pol: there is no such key; did you mean pool?",
        ),
        (models, MODELS.replace("stories260k", "stories"), "models.toml:11: generate/stories: weights: there is"),
        (models, MODELS.replace('"hf"', '"hff"'), "models.toml:9: generate/stories: algorithm: there is no module"),
        (models, MODELS + MODELS, "models.toml:14: recommend/content: name: there is more than one model"),
        (keys, known.replace('"keys"', '"key"'), ".backlot/keys.json: "),
        (keys, '{"keys": []}', "keys.json lacks the key of .backlot/stack.json"),
    ):
        good = path.read_text()
        path.write_text(text)
        status, shown = local("up")
        path.write_text(good)
        assert status == 1 and told in shown and "Traceback" not in shown, shown
    assert local("up", BACKLOT_GPU_SLOTS="0")[0] == 1
    assert pids(checkout) == before
    stack = json.loads((checkout / ".backlot" / "stack.json").read_text())
    assert httpx.get(f"http://127.0.0.1:{stack['ports']['api']}/readyz", trust_env=False).status_code == 200
    assert local("status")[0] == 0


def test_a_wrong_variable_does_not_keep_a_stack_from_being_stopped(local):
    assert local("down", BACKLOT_GRACE_S="soon")[0] == 0
    assert "down" in local("status")[1]
