"""Trains one network: `python -m worker.train <kind>/<algorithm>`; may be stopped at any time and goes on where it was.

It keeps checkpoints, the best weights, the history and the curves, the same for every Recipe of
tasks/recipe.py; it knows nothing of any network, its data or its metrics.

    .train/<kind>/<algorithm>/checkpoint.pt    the state after some step, and the books below
    .train/<kind>/<algorithm>/best.pt          the state with the lowest `metric` so far
    .train/<kind>/<algorithm>/history.jsonl    one line an evaluation: step, seconds, loss, the metrics
    .train/<kind>/<algorithm>/curves.png       the same as curves
"""

import importlib
import json
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import tasks
from tasks.recipe import DataMissing, Recipe
from tasks.registry import KINDS

CHECKPOINT_EVERY_S = 60.0
Entry = dict[str, float]
"""One evaluation: step, seconds, loss, and the metrics by name."""
STOPPED = 130  # exit code of a training that was told to stop and left a checkpoint


class Diverged(Exception):
    """The loss, or the metric at every evaluation, is not a number."""


class Training:
    """A recipe and the books kept on it, in one folder.

    done     steps taken
    seconds  spent in steps and evaluations, resumed runs included
    losses   [sum, count] of the steps since the last evaluation
    best     [metric, step] of the best evaluation; None before the first
    history  one entry an evaluation
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.done, self.seconds, self.losses = 0, 0.0, [0.0, 0]
        self.best: list[float] | None = None
        self.history: list[Entry] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def finished(self) -> bool:
        return self.done >= self.recipe.steps

    def resume(self) -> bool:
        """Take up the checkpoint of the folder; False where there is none."""
        if not self._path("checkpoint").exists():
            return False
        saved = _load(self._path("checkpoint"))
        self.recipe.restore(saved["state"])
        self.done, self.seconds, self.losses = saved["done"], saved["seconds"], saved["losses"]
        self.best, self.history = saved["best"], saved["history"]
        return True

    def run(self, stopping: Callable[[], bool], show: Callable[["Training", Entry | None], None]) -> None:
        """Step until all steps are done or `stopping()`; `show` gets each step, with the entry of an evaluation.

        Errors: Diverged, where a loss is not finite (the checkpoint before it stays).
        """
        saved_at = time.monotonic()
        while not self.finished and not stopping():
            entry = self._timed_step()
            show(self, entry)
            if entry or time.monotonic() - saved_at >= CHECKPOINT_EVERY_S:
                self.save()
                saved_at = time.monotonic()
        self.save()

    def _timed_step(self) -> Entry | None:
        started = time.monotonic()
        loss = self.recipe.step(self.done)
        if not math.isfinite(loss):
            raise Diverged(f"the loss of step {self.done} is {loss}")
        self.done += 1
        self.losses = [self.losses[0] + loss, self.losses[1] + 1]
        due = self.finished or self.done % self.recipe.every == 0
        metrics = self.recipe.evaluate() if due else None
        self.seconds += time.monotonic() - started
        return self._note(metrics) if metrics else None

    def _note(self, metrics: dict[str, float]) -> Entry:
        """Enter an evaluation into the books; keep the weights where they are the best yet."""
        mean = self.losses[0] / self.losses[1]
        entry = {
            "step": self.done,
            "seconds": round(self.seconds, 1),
            "loss": mean,
            **{name: float(value) for name, value in metrics.items()},
        }
        self.losses = [0.0, 0]
        self.history.append(entry)
        value = entry[self.recipe.metric]
        if math.isfinite(value) and (self.best is None or value < self.best[0]):
            self.best = [value, self.done]
            _save(self.recipe.state(), self._path("best"))
        return entry

    def save(self) -> None:
        """Checkpoint first, then what people read: after a crash the files follow the checkpoint."""
        _save(
            {
                "state": self.recipe.state(),
                "done": self.done,
                "seconds": self.seconds,
                "losses": self.losses,
                "best": self.best,
                "history": self.history,
            },
            self._path("checkpoint"),
        )
        lines = "".join(json.dumps(entry) + "\n" for entry in self.history)
        _replace(self.folder / "history.jsonl", lambda path: path.write_text(lines))
        if self.history and self.history[-1]["step"] == self.done:
            draw_curves(self.history, self.folder / "curves.png")

    def export(self, out: Path) -> tuple[float, float]:
        """Export the best weights and the curves into `out`. Returns their step and metric. Errors: Diverged."""
        if self.best is None:
            raise Diverged(f"no evaluation has given a finite {self.recipe.metric}, so there is nothing to export")
        self.recipe.restore(_load(self._path("best")))
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:  # a failed export leaves `out` as it was
            self.recipe.export(Path(scratch), self.history)
            draw_curves(self.history, Path(scratch) / "curves.png")
            for path in sorted(Path(scratch).iterdir()):
                path.chmod(0o644)  # safetensors writes files that only their owner may read
                os.replace(path, out / path.name)
        metric, step = self.best
        return step, metric

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"


def draw_curves(history: list[Entry], path: Path) -> None:
    """One small panel for the loss and one a metric, over steps."""
    from matplotlib.figure import Figure  # Figure alone: no display, no global state

    names = _curves(history[0])
    figure = Figure(figsize=(3.2 * len(names), 2.6), dpi=80)
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.2, wspace=0.3)  # matplotlib's own layouts cost twice the time
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.plot([entry["step"] for entry in history], [entry[name] for entry in history])
        axes.set(title=name.replace("_", " "), xlabel="step")
        axes.grid(alpha=0.3)
    _replace(path, lambda temporary: figure.savefig(temporary, format="png"))


def _curves(entry: Entry) -> list[str]:
    return [name for name in entry if name not in ("step", "seconds")]


def _save(value: dict[str, Any], path: Path) -> None:
    """Write atomically, and only what weights_only=True can read again."""

    def write(temporary: Path) -> None:
        torch.save(value, temporary)
        _load(temporary)

    _replace(path, write)


def _load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return value


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """The file is the old one or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def recipe_class(what: str) -> type[Recipe]:
    """The Recipe of '<kind>/<algorithm>'; errors: click.BadParameter, which lists what there is."""
    kind, _, algorithm = what.partition("/")
    if kind not in KINDS:
        raise click.BadParameter(f"{what!r} is not <kind>/<algorithm>; kinds are {', '.join(KINDS)}")
    try:
        recipes: dict[str, type[Recipe]] = importlib.import_module(f"tasks.{kind}.training.recipes").RECIPES
    except ModuleNotFoundError as error:
        if error.name != f"tasks.{kind}.training.recipes":
            raise
        raise click.BadParameter(f"nothing of {kind} is trained") from error
    if algorithm not in recipes:
        raise click.BadParameter(f"{kind} has no recipe {algorithm!r}; there are {', '.join(recipes)}")
    return recipes[algorithm]


class StopSignal:
    """Called, says whether SIGINT or SIGTERM came: a step is never cut in two. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __call__(self) -> bool:
        return self.came


class Display:
    """A bar for the steps, and a line that stays for each evaluation (which is all that a log file gets)."""

    def __init__(self, training: Training, console: Console) -> None:
        self.progress = Progress(
            TextColumn("loss {task.fields[loss]:.4f}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self.bar = self.progress.add_task("", total=training.recipe.steps, completed=training.done, loss=0.0)

    def __call__(self, training: Training, entry: Entry | None) -> None:
        total, count = training.losses
        loss = entry["loss"] if entry else total / count  # an evaluation empties the sum
        self.progress.update(self.bar, completed=training.done, loss=loss)
        if entry:
            best = "  (best)" if training.best and training.best[1] == entry["step"] else ""
            metrics = "  ".join(f"{name} {entry[name]:.4f}" for name in _curves(entry))
            line = f"step {entry['step']}  {entry['seconds']:.0f} s  {metrics}{best}"
            self.progress.console.print(line, highlight=False)


@click.command()
@click.argument("what", metavar="<kind>/<algorithm>")
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="BACKLOT_DATA", show_envvar=True, help="folder of the data sets"
)
@click.option("--out", type=click.Path(path_type=Path), help="where the weights go [tasks/<kind>/weights/<algorithm>]")
@click.option(
    "--resume/--fresh", default=True, help="go on from the checkpoint, where there is one (default), or start anew"
)
@click.option("--export-only", is_flag=True, help="take no step: export the best weights so far")
@click.option("--device", default=None, help="cpu or cuda [cuda where there is one]")
def main(what: str, data: Path | None, out: Path | None, resume: bool, export_only: bool, device: str | None) -> None:
    """Train a network and export its weights. Ctrl-C leaves a checkpoint; the same command goes on from it."""
    console = Console()
    chosen = recipe_class(what)
    try:
        if data is None:
            raise DataMissing("no data folder: set BACKLOT_DATA or give --data")
        recipe = chosen(data, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except DataMissing as error:
        click.echo(f"data missing: {error}", err=True)
        raise SystemExit(2) from error
    training = _prepare(recipe, Path(".train") / what, fresh=not resume)
    try:
        if not export_only:
            _run(training, console)
        folder = out or Path(tasks.__file__).parent / what.split("/")[0] / "weights" / what.split("/")[1]
        step, metric = training.export(folder)
    except Diverged as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"exported step {step:.0f}, {recipe.metric} {metric:.4f}, to {folder}")


def _prepare(recipe: Recipe, folder: Path, fresh: bool) -> Training:
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    training = Training(recipe, folder)
    try:
        if training.resume():
            click.echo(f"going on from step {training.done} of {recipe.steps}")
    except (KeyError, RuntimeError, ValueError) as error:
        raise click.ClickException(
            f"{folder / 'checkpoint.pt'} does not fit this recipe ({error}); start anew with --fresh"
        ) from error
    return training


def _run(training: Training, console: Console) -> None:
    stopping, display = StopSignal(), Display(training, console)
    with display.progress:
        training.run(stopping, display)
    if not training.finished:
        click.echo(f"stopped after step {training.done}; the same command goes on from there")
        raise SystemExit(STOPPED)


if __name__ == "__main__":
    main()
