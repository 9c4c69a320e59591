"""Training as people use it, on a recipe of the test's own: interrupted at any point, it ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
WHOLE = ("generate/line", "--data", ".", "--out", "out")

# A line fitted by Adam; LOG gets a line a step, so that a test knows how far it is.
TINY = """
import os, sys, time, types
from pathlib import Path
import torch
from tasks.recipe import DataMissing, Recipe

class Line(Recipe):
    steps, every, metric = 40, 10, "error"

    def __init__(self, data, device):
        if not (data / "points").exists():
            raise DataMissing("the set points is not there")
        self.weights = torch.zeros(3, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.weights], 0.1)

    def step(self, number):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        loss = ((x @ self.weights - x.sum(1)) ** 2).mean()
        self.optimiser.zero_grad(); loss.backward(); self.optimiser.step()
        with open(os.environ["LOG"], "a") as log:
            print(number, file=log)
        while number == int(os.environ.get("HANG", -1)) and not os.path.exists("go"):
            time.sleep(0.01)
        return float("nan") if number == int(os.environ.get("NAN", -1)) else loss.item()

    def evaluate(self):
        error = float(((self.weights.detach() - 1) ** 2).mean())
        return {"error": error + (100 if self.optimiser.state[self.weights]["step"] > 30 else 0)}

    def state(self):
        return {"weights": self.weights.detach(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state):
        self.weights.data.copy_(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder, history):
        torch.save({"weights": self.weights.detach(), "history": history}, folder / "weights.pt")

module = types.ModuleType("tasks.generate.train")
module.RECIPES = {"line": Line}
sys.modules[module.__name__] = module
import worker.train
worker.train.CHECKPOINT_EVERY_S = float(os.environ.get("CHECKPOINT_EVERY_S", 60))
worker.train.main()
"""


class Folder:
    """A folder to train in, and the command."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path, path / "steps.log"
        (path / "points").touch()
        (path / "tiny.py").write_text(TINY)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        known = {name: value for name, value in os.environ.items() if name != "BACKLOT_DATA"}
        return subprocess.Popen([sys.executable, "tiny.py", *(arguments or WHOLE)], cwd=self.path, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**known, "PYTHONPATH": str(ROOT), "LOG": str(self.log), **environment})

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors

    def hanging_in_step(self, number: int, **environment: str) -> subprocess.Popen:
        """A training that has come to this step, and is in the midst of it."""
        process = self.start(HANG=str(number), **environment)
        while str(number) not in self.steps():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return process

    def steps(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def exported(self) -> dict:
        return torch.load(self.path / "out" / "weights.pt", weights_only=True)

    def checkpoint(self) -> dict:
        return torch.load(self.path / ".train" / "generate" / "line" / "checkpoint.pt", weights_only=True)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("whole"))
    assert folder.run()[0] == 0
    return folder


def test_the_best_weights_are_exported_not_the_last(uninterrupted):
    """The metric is bad at step 40 on purpose: what ships is step 30, and the history says so."""
    history = uninterrupted.exported()["history"]
    assert [entry["step"] for entry in history] == [10, 20, 30, 40]
    assert min(history, key=lambda entry: entry["error"])["step"] == 30
    kept = uninterrupted.exported()["weights"]
    assert float(((kept - 1) ** 2).mean()) == history[2]["error"]
    assert not torch.equal(kept, uninterrupted.checkpoint()["state"]["weights"])


def test_a_line_an_evaluation_and_curves_are_written(uninterrupted):
    """For people: what they can read, plot again, and look at."""
    books = uninterrupted.path / ".train" / "generate" / "line"
    lines = [json.loads(line) for line in (books / "history.jsonl").read_text().splitlines()]
    assert lines == uninterrupted.exported()["history"]
    assert set(lines[0]) == {"step", "seconds", "loss", "error"}
    for place in (books, uninterrupted.path / "out"):
        assert (place / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_killed_and_resumed_is_as_never_killed(folder, uninterrupted):
    """SIGKILL in the midst of a step, with a checkpoint after every step before: the same weights to the last bit."""
    process = folder.hanging_in_step(23, CHECKPOINT_EVERY_S="0")
    process.kill()
    process.communicate()
    code, output, errors = folder.run()
    assert code == 0, errors
    assert "going on from step 23 of 40" in output
    assert torch.equal(folder.exported()["weights"], uninterrupted.exported()["weights"])
    assert without_seconds(folder) == without_seconds(uninterrupted)


def test_killed_between_checkpoints_repeats_the_steps_since(folder, uninterrupted):
    """The last checkpoint was the evaluation of step 20; nothing of what came after it is counted twice."""
    process = folder.hanging_in_step(26)
    process.kill()
    process.communicate()
    assert folder.run()[0] == 0
    assert folder.steps()[26:29] == ["26", "20", "21"]
    assert torch.equal(folder.exported()["weights"], uninterrupted.exported()["weights"])
    assert without_seconds(folder) == without_seconds(uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_its_step_and_leaves_a_checkpoint(folder, uninterrupted, number):
    """No step is cut in two: the one under way is in the checkpoint, and the same command goes on after it."""
    process = folder.hanging_in_step(12)
    process.send_signal(number)
    (folder.path / "go").touch()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopped after step 13" in output
    assert folder.checkpoint()["done"] == 13
    assert folder.run()[0] == 0
    assert torch.equal(folder.exported()["weights"], uninterrupted.exported()["weights"])


def test_a_finished_training_is_only_exported_again(uninterrupted):
    """Asked twice, it takes no step."""
    before = uninterrupted.steps()
    (uninterrupted.path / "out" / "weights.pt").unlink()
    assert uninterrupted.run()[0] == 0
    assert uninterrupted.steps() == before
    assert uninterrupted.exported()["history"][-1]["step"] == 40


def test_fresh_begins_anew(folder):
    """--fresh forgets the checkpoint."""
    assert folder.run()[0] == 0
    assert folder.run(*WHOLE, "--fresh")[0] == 0
    assert folder.steps().count("0") == 2


def test_missing_data_is_one_line_and_exit_code_2(folder):
    """Which set, and nothing of a traceback."""
    (folder.path / "points").unlink()
    code, _, errors = folder.run()
    assert (code, errors) == (2, "data missing: the set points is not there\n")


def test_no_data_folder_says_how_to_name_one(folder):
    """Neither --data nor BACKLOT_DATA."""
    code, _, errors = folder.run("generate/line")
    assert code == 2 and "BACKLOT_DATA" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize(("what", "said"), [("generate/none", "there are line"), ("sing/lstm", "kinds are recommend")])
def test_an_unknown_recipe_lists_what_there_is(folder, what, said):
    """As the command line's usage error."""
    code, _, errors = folder.run(what, "--data", ".")
    assert code == 2 and said in errors and "Traceback" not in errors


def test_a_loss_that_is_not_a_number_ends_the_training(folder):
    """The checkpoint before it stays, and its weights can still be exported."""
    code, _, errors = folder.run(NAN="15")
    assert code == 1 and "the loss of step 15 is nan" in errors and "Traceback" not in errors
    assert folder.checkpoint()["done"] == 10
    assert folder.run(*WHOLE, "--export-only")[0] == 0
    assert [entry["step"] for entry in folder.exported()["history"]] == [10]


def test_a_checkpoint_of_another_recipe_is_refused(folder):
    """With the way out, and the file left alone."""
    books = folder.path / ".train" / "generate" / "line"
    books.mkdir(parents=True)
    torch.save({"state": {"other": 1}, "done": 3}, books / "checkpoint.pt")
    code, _, errors = folder.run()
    assert code == 1 and "--fresh" in errors and "Traceback" not in errors
    assert folder.checkpoint()["done"] == 3


def without_seconds(folder: Folder) -> list[dict]:
    return [{name: value for name, value in entry.items() if name != "seconds"}
            for entry in folder.exported()["history"]]
