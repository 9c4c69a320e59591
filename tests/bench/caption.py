"""The captioners' recipes on UCM-Captions: `make bench-caption`, or `python -m tests.bench.caption`, with BACKLOT_DATA.

Trains each decoder on frozen features of SqueezeNet, tells the test part, and writes CAPTION.md beside this file,
with what was measured and on what. UCM-Captions is for research only: nothing of it is kept but the numbers. The
captioners that are shipped are measured on their own scenes, in the cards beside their weights.
"""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch

from tasks.caption import cnn_attention, cnn_lstm, self_attention, transformer
from tasks.caption.training.control import WithoutAttention
from tests.bench import caption_ucm as ucm
from tests.bench.caption_metrics import scores

OUT = Path(__file__).parent / "CAPTION.md"
SEED = 0
RECIPES: dict[str, tuple[Any, dict[str, Any], int, float]] = {  # model, decoder, steps, peak of the learning rate
    "cnn-lstm": (cnn_lstm.Model, {"size": 256, "dropout": 0.4}, 300, 2e-3),
    "cnn-attention": (cnn_attention.Model, {"size": 256, "dropout": 0.4, "attention": 128}, 300, 2e-3),
    "self-attention": (self_attention.Model, {"size": 256, "dropout": 0.4, "attention": 128}, 300, 2e-3),
    "self-attention-control": (WithoutAttention, {"size": 256, "dropout": 0.4, "attention": 128}, 300, 2e-3),
    "transformer": (
        transformer.Model,
        {"size": 192, "dropout": 0.3, "layers": 2, "heads": 6, "longest": 0},
        1000,
        5e-4,
    ),
}
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr")
TARGETS = {"cnn-lstm": 0.45, "cnn-attention": 0.50, "transformer": 0.50}  # BLEU-4 with beam search


def measured(parts: dict[str, ucm.Part]) -> tuple[list[str], list[str]]:
    """Table rows, and what each model says of the first test pictures of every fourth class."""
    wanted = parts["test"].captions
    rows = [_row(name, found) for name, found in ucm.baselines(parts).items()]
    said = []
    for name, recipe in RECIPES.items():
        trained = ucm.train(*recipe, parts, SEED)
        greedy, beam = (
            ucm.told(trained.model, parts["test"].F, beams, penalty)
            for beams, penalty in ((1, 0.0), (ucm.BEAMS, trained.penalty))
        )
        rows += [
            _row(f"{name}, greedy", scores(greedy, wanted)),
            _row(
                f"{name}, {ucm.BEAMS} beams, length penalty {trained.penalty}",
                scores(beam, wanted),
                f"{TARGETS[name]:.2f}" if name in TARGETS else "",
                f"{trained.seconds:.0f}",
            ),
        ]
        click.echo("\n".join(rows[-2:]))
        said += [
            f"| {number} | {name} | {' '.join(beam[number])} | {' '.join(wanted[number][0])} |"
            for number in range(0, len(beam), 40)
        ]
    return rows, sorted(said, key=lambda row: int(row.split("|")[1]))


def _row(name: str, found: dict[str, float], target: str = "", seconds: str = "") -> str:
    return f"| {name} | " + " | ".join(f"{found[one]:.3f}" for one in NAMES) + f" | {target} | {seconds} |"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), envvar="BACKLOT_DATA", required=True, show_envvar=True)
def main(data: Path) -> None:
    """Measure, and write CAPTION.md."""
    started, load = time.monotonic(), os.getloadavg()[0]
    torch.set_num_threads(1)
    parts = ucm.read(data)
    encoding = time.monotonic() - started
    rows, said = measured(parts)
    OUT.write_text(
        REPORT.format(
            header=" | ".join(NAMES),
            line="|".join("---" for _ in NAMES),
            rows="\n".join(rows),
            said="\n".join(said),
            when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            cores=os.cpu_count(),
            load=load,
            seed=SEED,
            system=f"{platform.system()} {platform.machine()}",
            torch=torch.__version__,
            encoding=encoding,
            total=(time.monotonic() - started) / 60,
            recipes="\n".join(
                f"- {name}: {steps} steps of {ucm.BATCH}, rate {rate}, {decoder}"
                for name, (_, decoder, steps, rate) in RECIPES.items()
            ),
        )
    )
    click.echo(f"written: {OUT.name}")


REPORT = """# Captions of UCM-Captions

Written by `make bench-caption` (`python -m tests.bench.caption`); {when}; {cores} cores, load before {load:.1f},
one thread, {system}, torch {torch}. {total:.0f} minutes in all, {encoding:.0f} s of them to encode 2,100 pictures
(or to read again what was kept of it). Seed {seed}.

Split as published: 1,680 pictures to learn from, 210 to choose the best weights and the length penalty by, 210 to test.
Encoder: SqueezeNet 1.0, frozen. Scores are those of the MS COCO evaluation (tests/tasks/caption/test_metrics.py),
higher is better. 'Target' is for BLEU-4. Research only: neither pictures nor weights of this are shipped.

| | {header} | target | seconds to train |
|---|{line}|---|---|
{rows}

{recipes}

What they say of some test pictures (every 40th):

| picture | model | said | first of what people wrote |
|---|---|---|---|
{said}
"""

if __name__ == "__main__":
    main()
