"""Training as people use it, on a recipe of the test's own: stopped at any point, it ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

import worker.train
from tasks.recipe import DataMissing, Recipe

ROOT = Path(__file__).parents[2]
BOOKS = Path(".train/generate/line")
TRAIN = ["generate/line", "--data", ".", "--out", "out"]


class Line(Recipe):
    """A line fitted by Adam. `trouble` is called with the number of each step, in the midst of it."""

    steps, every, metric = 40, 10, "error"
    trouble = staticmethod(lambda number: None)

    def __init__(self, data, device):
        if not (data / "points").exists():
            raise DataMissing("the set points is not there")
        self.weights = torch.zeros(3, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.weights], 0.1)
        self.taken = []

    def step(self, number):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        loss = ((x @ self.weights - x.sum(1)) ** 2).mean()
        self.optimiser.zero_grad()
        loss.backward()
        instead = self.trouble(number)
        self.optimiser.step()
        self.taken.append(number)
        return loss.item() if instead is None else instead

    def evaluate(self):
        """Bad at the last evaluation on purpose: the best is the one before."""
        error = float(((self.weights.detach() - 1) ** 2).mean())
        return {"error": error + 100 * (self.optimiser.state[self.weights]["step"].item() > 30)}

    def state(self):
        return {"weights": self.weights.detach(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state):
        self.weights.data.copy_(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, folder, history):
        torch.save({"weights": self.weights.detach(), "history": history, "taken": self.taken}, folder / "line.pt")


def recipes() -> ModuleType:
    """What tasks/generate/training/recipes.py is in production."""
    module = ModuleType("tasks.generate.training.recipes")
    module.RECIPES = {"line": Line}
    return module


@pytest.fixture
def train(tmp_path, monkeypatch):
    """The command, in an empty folder: train(*more arguments) -> its result."""
    monkeypatch.setitem(sys.modules, "tasks.generate.training.recipes", recipes())
    monkeypatch.delenv("BACKLOT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("points").touch()
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield lambda *more, what=TRAIN: CliRunner().invoke(worker.train.main, [*what, *more])
    for number, handler in handlers:
        signal.signal(number, handler)


@pytest.fixture
def trouble(monkeypatch):
    """trouble(at, do): in the midst of step `at`, and of no other, `do()` happens."""

    def set_trouble(at, do):
        monkeypatch.setattr(Line, "trouble", staticmethod(lambda number: do() if number == at else None))

    yield set_trouble


def exported() -> dict:
    return torch.load("out/line.pt", weights_only=True)


def checkpoint() -> dict:
    return torch.load(BOOKS / "checkpoint.pt", weights_only=True)


def without_seconds(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in history]


def assert_as_if_never_stopped(train) -> None:
    """The weights to the last bit, and the history but for its clock."""
    stopped = exported()
    assert train("--fresh").exit_code == 0
    assert torch.equal(stopped["weights"], exported()["weights"])
    assert without_seconds(stopped["history"]) == without_seconds(exported()["history"])


def test_the_best_weights_are_exported_not_the_last(train):
    """Step 40 is the worse one: what ships is step 30, and the history says so."""
    assert train().exit_code == 0
    history, kept = exported()["history"], exported()["weights"]
    assert [entry["step"] for entry in history] == [10, 20, 30, 40]
    assert min(history, key=lambda entry: entry["error"])["step"] == 30
    assert float(((kept - 1) ** 2).mean()) == history[2]["error"]
    assert not torch.equal(kept, checkpoint()["state"]["weights"])


def test_history_and_curves_are_for_people(train):
    """A line an evaluation, the loss as the mean of the steps since the last, and a picture, shipped too."""
    assert train().exit_code == 0
    lines = [json.loads(line) for line in (BOOKS / "history.jsonl").read_text().splitlines()]
    assert lines == exported()["history"]
    assert set(lines[0]) == {"step", "seconds", "loss", "error"}
    for place in (BOOKS, Path("out")):
        assert (place / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_killed_it_repeats_only_the_steps_since_its_checkpoint(train):
    """SIGKILL in the midst of step 26; the evaluation at 20 left a checkpoint, which the same command takes up."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.worker.test_train", "26"],
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=150,
    )
    assert child.returncode == -signal.SIGKILL
    assert "going on from step 20 of 40" in train().output
    assert exported()["taken"] == list(range(20, 40))
    assert_as_if_never_stopped(train)


def test_a_checkpoint_comes_with_the_clock_too(train, trouble, monkeypatch):
    """Not at evaluations alone: after a crash in step 17, no step before it is taken again."""

    def crash():
        raise MemoryError

    monkeypatch.setattr(worker.train, "CHECKPOINT_EVERY_S", 0)
    trouble(17, crash)
    assert isinstance(train().exception, MemoryError)
    trouble(None, None)
    assert "going on from step 17 of 40" in train().output
    assert_as_if_never_stopped(train)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_its_step_and_leaves_a_checkpoint(train, trouble, number):
    """No step is cut in two: the one under way is in the checkpoint, and the same command goes on after it."""
    trouble(12, lambda: os.kill(os.getpid(), number))
    stopped = train()
    assert stopped.exit_code == 130 and "stopped after step 13" in stopped.output
    assert checkpoint()["done"] == 13
    trouble(None, None)
    assert train().exit_code == 0
    assert exported()["taken"] == list(range(13, 40))
    assert_as_if_never_stopped(train)


def test_a_finished_training_is_only_exported_again(train):
    """Asked twice, it takes no step."""
    assert train().exit_code == 0
    Path("out/line.pt").unlink()
    assert train().exit_code == 0
    assert exported()["taken"] == [] and exported()["history"][-1]["step"] == 40


def test_a_failed_export_leaves_the_weights_as_they_were(train, monkeypatch):
    """Files are put in place when all are written."""

    def half(self, folder, history):
        (folder / "line.pt").write_text("half")
        raise OSError("disk full")

    assert train().exit_code == 0
    before = Path("out/line.pt").read_bytes()
    monkeypatch.setattr(Line, "export", half)
    assert isinstance(train().exception, OSError)
    assert Path("out/line.pt").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == [".train", "out", "points"]


def test_a_state_that_could_not_be_read_again_is_refused_at_once(train, monkeypatch):
    """Nothing but what weights_only=True reads may be in a checkpoint; not found out at the resume."""
    monkeypatch.setattr(Line, "state", lambda self: {"weights": Path("a python object")})
    failed = train()
    assert "weights_only" in str(failed.exception).lower() or "weights only" in str(failed.exception).lower()
    assert not (BOOKS / "checkpoint.pt").exists()


def test_missing_data_is_one_line_and_exit_code_2(train):
    """Which set, and nothing of a traceback."""
    Path("points").unlink()
    missing = train()
    assert (missing.exit_code, missing.output) == (2, "data missing: the set points is not there\n")


def test_no_data_folder_says_how_to_name_one(train, monkeypatch):
    """Neither --data nor BACKLOT_DATA; with the variable, it is enough."""
    missing = train(what=["generate/line"])
    assert missing.exit_code == 2 and "BACKLOT_DATA" in missing.output and missing.output.count("\n") == 1
    monkeypatch.setenv("BACKLOT_DATA", ".")
    assert train(what=["generate/line", "--out", "out"]).exit_code == 0


@pytest.mark.parametrize(("what", "said"), [("generate/none", "there are line"), ("sing/lstm", "kinds are recommend")])
def test_an_unknown_recipe_lists_what_there_is(train, what, said):
    """As a usage error of the command line."""
    unknown = train(what=[what, "--data", "."])
    assert unknown.exit_code == 2 and said in " ".join(unknown.output.split())


def test_a_loss_that_is_not_a_number_ends_the_training(train, trouble):
    """The checkpoint before it stays, and its weights can still be exported."""
    trouble(15, lambda: float("nan"))
    diverged = train()
    assert diverged.exit_code == 1 and "the loss of step 15 is nan" in diverged.output
    assert checkpoint()["done"] == 10
    assert train("--export-only").exit_code == 0
    assert [entry["step"] for entry in exported()["history"]] == [10]


def test_nothing_to_export_is_said(train):
    """Before the first evaluation there are no best weights."""
    early = train("--export-only")
    assert early.exit_code == 1 and "nothing to export" in early.output and not Path("out").exists()


def test_a_checkpoint_of_another_recipe_is_refused(train):
    """With the way out in the message, and the file left alone."""
    BOOKS.mkdir(parents=True)
    torch.save({"state": {"other": 1}, "done": 3}, BOOKS / "checkpoint.pt")
    refused = train()
    assert refused.exit_code == 1 and "--fresh" in refused.output
    assert checkpoint()["done"] == 3


if __name__ == "__main__":  # the process that test_killed_... starts
    sys.modules["tasks.generate.training.recipes"] = recipes()
    at = int(sys.argv[1])
    Line.trouble = staticmethod(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == at else None)
    worker.train.main(TRAIN)
