"""Calibrates caption/cnn and writes its card: what it warns of, and what it says of every photograph there is.

    python -m tasks.caption.training.photographs --data ~/data --own ~/imagenet-sample-images FOLDER ...

`--own`: one photograph of each class, in the order of the classes by name; FOLDER: pictures to list, all that are read.
The weights are not changed; config.json and CARD.md are written. Only own pictures set the limit of the fit.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tasks.algorithm import Call
from tasks.caption.cnn import Model, Sorted, middle
from tasks.caption.pictures import open_picture
from tasks.caption.training.foreign import sources
from tasks.caption.training.photographs_text import CARD
from tasks.errors import BacklotError

WEIGHTS = Path(__file__).parent.parent / "weights" / "cnn"
FALSE_ALARMS = 0.045
"""Share of own pictures that calibration lets be warned of; the aim is 0.05 of others."""
FOLDS, BATCH = 10, 50
SHOWN = {".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--own", type=Path, required=True)
    parser.add_argument("folders", nargs="*", type=Path)
    asked = parser.parse_args()
    model = Model.load(WEIGHTS, "cpu")
    files = sorted(path for path in asked.own.iterdir() if path.suffix.lower() in SHOWN)
    assert len(files) == len(model.classes.names), "one photograph of each class is needed"
    own = sort(model, map(open_picture, files))
    measures = np.array([model.measures(found) for found in own])
    mean, deviation, least = calibrated(measures)
    model.config["domain"] = {
        **{
            name: [round(float(mean[n]), 4), round(float(deviation[n]), 4)] for n, name in enumerate(("entropy", "far"))
        },
        "least": round(least, 2),
    }
    (WEIGHTS / "config.json").write_text(json.dumps(model.config, indent=1) + "\n")
    (WEIGHTS / "CARD.md").write_text(
        CARD.format(
            parameters=sum(p.numel() for p in model.network.parameters()) / 1e6,
            sure=model.config["sure"],
            groups=len(model.classes.groups) - 1,
            least=model.config["domain"]["least"],
            calibrating=FALSE_ALARMS,
            folds=FOLDS,
            alarms=false_alarms(measures),
            own="\n".join(_own(model, own)),
            foreign="\n".join(_foreign(model, asked.data)),
            listed="\n\n".join(_listed(model, folder) for folder in (asked.data / "images" / "photos", *asked.folders)),
        )
    )


def sort(model: Model, pictures: Iterable) -> list[Sorted]:
    squares = [middle(picture, model.config["side"]) for picture in pictures]
    return [one for first in range(0, len(squares), BATCH) for one in model.sort(squares[first : first + BATCH])]


def calibrated(measures: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and deviation of each measure (pictures, 2), and the limit of the fit that FALSE_ALARMS fall under."""
    mean, deviation = measures.mean(axis=0), measures.std(axis=0)
    return mean, deviation, float(np.quantile(((mean - measures) / deviation).sum(axis=1), FALSE_ALARMS))


def false_alarms(measures: np.ndarray) -> float:
    """Share of own pictures warned of by a limit that was set without them (cross-validation)."""
    warned = 0
    for fold in range(FOLDS):
        held = np.arange(len(measures)) % FOLDS == fold
        mean, deviation, least = calibrated(measures[~held])
        warned += int((((mean - measures[held]) / deviation).sum(axis=1) < least).sum())
    return warned / len(measures)


def _own(model: Model, own: Sequence[Sorted]) -> list[str]:
    """How often the caption is a class, and right, on the own pictures, at several limits."""
    rows = []
    best = np.array([found.probabilities.argmax() for found in own])
    five = [n in found.probabilities.argsort()[-5:] for n, found in enumerate(own)]
    for sure in (0.5, 0.6, 0.7, 0.8):
        said = [model.classes.say(found.probabilities, sure) for found in own]
        right = np.mean([n in one.members for n, one in enumerate(said)])
        exact = np.mean([one.members.size == 1 for one in said])
        rows.append(f"| {sure:.1f} | {exact:.1%} | {right:.1%} | {np.mean([one.vague for one in said]):.1%} |")
    first = np.mean(best == np.arange(len(own)))
    top = f"Likeliest class right: {first:.1%}; among the five likeliest: {np.mean(five):.1%}."
    return [top, "", "| sure | a class is said | what is said is true | vague |", "|---|---|---|---|", *rows]


def _foreign(model: Model, data: Path) -> list[str]:
    words = [word for name in model.classes.names for word in name.split()]
    rows = []
    for name, make in sources(data, words).items():
        found = sort(model, make())
        warned = np.mean([model.fit(one) < model.config["domain"]["least"] for one in found])
        rows.append(f"| {name} | {len(found)} | {warned:.1%} |")
    return rows


def _listed(model: Model, folder: Path) -> str:
    """What is said of every picture of a folder, in the order of names."""
    rows = [
        f"### {'/'.join(folder.parts[-2:])}",
        "",
        "| picture | caption | likeliest classes | fit | warnings |",
        "|---|---|---|---|---|",
    ]
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SHOWN):
        (result,) = model.run([Call.of("caption", image=path)])
        if isinstance(result, BacklotError):
            rows.append(f"| {path.name} | ({result.code}) | | | {result.detail} |")
            continue
        (found,) = sort(model, [open_picture(path)])
        others = [one for one in result.value["alternatives"] if one["caption"] in model.classes.names]
        classes = ", ".join(f"{one['caption']} {one['probability']:.2f}" for one in others[:3])
        codes = ", ".join(f"`{one['code']}`" for one in result.value["warnings"])
        rows.append(f"| {path.name} | {result.value['caption']} | {classes} | {model.fit(found):.2f} | {codes} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
