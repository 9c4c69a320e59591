"""What is shipped of a captioner of scenes: its files, and the card with the test on scenes it has never seen.

The card is written by the code that tests, from the weights as they were written to disk (float16),
loaded as a worker loads them.
"""

import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.algorithm import Call, succeeded
from tasks.caption import domain
from tasks.caption.captioner import Captioner, Network
from tasks.caption.stored import write_tensors
from tasks.caption.training.card_text import CARD
from tasks.caption.training.encoder import FOLDER
from tasks.caption.training.scenes import BOTH, TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, Composer, Scene, Sort
from tasks.caption.vocabulary import meaning

TEST_SCENES = 600  # of known and of new compositions
STRANGE_SCENES, DOUBT_SCENES = 300, 300
CHANCE_SCENES = 20_000  # composed to find the most frequent caption, and the captions drawn by chance
RIGHT_BUT_DOUBTED = 0.05
BATCH = 50
CONFUSED = 12
SAMPLES = Path(__file__).parent.parent / "samples"
LEARNED = {
    "cnn-lstm": "Vinyals et al. 2015, 'Show and Tell'",
    "cnn-attention": "Xu et al. 2015, 'Show, Attend and Tell'",
    "self-attention": "Vaswani et al. 2017, 'Attention Is All You Need', over the places of a picture",
    "self-attention-control": "Vinyals et al. 2015, 'Show and Tell', with layers at each place and a convolution",
    "transformer": "Vaswani et al. 2017, 'Attention Is All You Need'",
}

BEGUN = {
    "self-attention": "It began with the weights of cnn-lstm, trained on 768,000 scenes before;\n"
    "docs/decisions.md compares it with a control of the same size without attention. "
}


@dataclass(frozen=True)
class Told:
    """What a model says of scenes, beside the truth: token lists, and the log-probability of each."""

    shown: list[Scene]
    tokens: list[list[str]]
    logprobs: list[float]


@dataclass(frozen=True)
class Scores:
    """Shares of scenes, 0 to 1. relation: the word for it, among the scenes that have one."""

    exact: float
    things: float
    relation: float

    def row(self, name: str) -> str:
        relation = "-" if np.isnan(self.relation) else f"{self.relation:.1%}"
        return f"| {name} | {self.exact:.1%} | {self.things:.1%} | {relation} |"


def score(shown: Sequence[Scene], told: Sequence[Sequence[str]]) -> Scores:
    """Told, token lists, against the truth: the whole caption; every thing with its number; the relation."""
    pairs = [(meaning(scene.tokens), meaning(tokens)) for scene, tokens in zip(shown, told, strict=True)]
    related = [(true[1], said[1]) for true, said in pairs if true[1]]
    return Scores(
        exact=_share(scene.tokens == tuple(tokens) for scene, tokens in zip(shown, told, strict=True)),
        things=_share(true[0] == said[0] for true, said in pairs),
        relation=_share(true == said for true, said in related),
    )


def tell(model: Captioner, composer: Composer, shown: Sequence[Scene], beams: int = 3) -> Told:
    """The model's best caption of each scene."""
    call, found = Call.of("caption", params={"beams": beams}), []
    for first in range(0, len(shown), BATCH):
        pictures = [composer.draw(scene, model.side) for scene in shown[first : first + BATCH]]
        seen = model.encode(pictures)
        found += [model.tell(seen[[row]], call)[0] for row in range(len(pictures))]
    return Told(list(shown), [model.vocabulary.decode(one.tokens) for one in found], [one.logprob for one in found])


def most_confused(shown: Sequence[Scene], told: Sequence[Sequence[str]]) -> list[str]:
    """Table rows of the things most often not named where they are: how often, and what was named instead."""
    seen: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    instead: dict[str, Counter[str]] = {}
    for scene, tokens in zip(shown, told, strict=True):
        true, said = meaning(scene.tokens)[0], meaning(tokens)[0]
        seen.update(set(true))
        for thing in set(true) - set(said):
            missed[thing] += 1
            instead.setdefault(thing, Counter()).update(set(said) - set(true))
    worst = sorted(missed, key=lambda thing: (-missed[thing] / seen[thing], thing))[:CONFUSED]
    return [
        f"| {thing} | {missed[thing]} of {seen[thing]} | "
        + ", ".join(f"{other} ({n})" for other, n in instead[thing].most_common(3))
        + " |"
        for thing in worst
    ]


def doubt(told: Told) -> float:
    """The log-probability under which RIGHT_BUT_DOUBTED of the captions that are right fall."""
    right = [
        logprob
        for scene, tokens, logprob in zip(told.shown, told.tokens, told.logprobs, strict=True)
        if scene.tokens == tuple(tokens)
    ]
    return round(float(np.quantile(right, RIGHT_BUT_DOUBTED)), 2) if right else 0.0


def export(
    kind: type[Captioner],
    network: Network,
    config: dict[str, Any],
    composer: Composer,
    folder: Path,
    history: list[dict],
    encoder: dict[str, Any],
    scenes: int,
) -> None:
    """Write model.safetensors (float16), config.json, CARD.md and domain.safetensors; `encoder`: its config."""

    def written(limit: float) -> Captioner:
        (folder / "config.json").write_text(json.dumps({**config, "doubt": limit}, indent=1) + "\n")
        return kind.load(folder, "cpu")

    def scenes_of(seeds: range, number: int, sort: Sort) -> list[Scene]:
        return [composer.scene(seed, sort) for seed in seeds[:number]]

    write_tensors(network, folder)
    shutil.copyfile(FOLDER / domain.FILE, folder / domain.FILE)
    limit = doubt(tell(written(0.0), composer, scenes_of(VALIDATION_SEEDS, DOUBT_SCENES, "known")))
    model = written(limit)
    known, new = (tell(model, composer, scenes_of(TEST_SEEDS, TEST_SCENES, sort)) for sort in BOTH)
    strange = tell(model, composer, scenes_of(TEST_SEEDS, STRANGE_SCENES, "strange"))
    both = (known.shown + new.shown, known.tokens + new.tokens)
    best, last = min(history, key=lambda entry: entry["wrong_captions"]), history[-1]
    (folder / "CARD.md").write_text(
        CARD.format(
            model=kind.name,
            learned=LEARNED[kind.name],
            file=kind.name.replace("-", "_"),
            things=len(composer.things),
            names=textwrap.fill(", ".join(composer.things), 116),
            words=len(model.vocabulary),
            config=config,
            parameters=sum(p.numel() for p in network.parameters()) / 1e6,
            tests=TEST_SCENES,
            limit=limit,
            doubt_scenes=DOUBT_SCENES,
            rows="\n".join(_rows(model, composer, known, new)),
            by_number="\n".join(_by_number(new)),
            confused="\n".join(most_confused(*both)),
            confused_number=CONFUSED,
            strange_number=len(composer.strange),
            strange_names=", ".join(composer.strange),
            strange=_strange(composer, strange),
            strange_scenes=STRANGE_SCENES,
            instead="\n".join(most_confused(strange.shown, strange.tokens)),
            doubts=_doubts(limit, known, strange),
            domain=(FOLDER / "domain.md").read_text().strip(),
            samples="\n".join(_samples(model)),
            steps=last["step"],
            best=best["step"],
            begun=BEGUN.get(kind.name, ""),
            scenes=scenes,
            minutes=last["seconds"] / 60,
            encoder_steps=encoder["history"][-1]["step"],
            encoder_batch=encoder["batch"],
            encoder_minutes=encoder["history"][-1]["seconds"] / 60,
            train=_range(TRAIN_SEEDS),
            validation=_range(VALIDATION_SEEDS),
            test=_range(TEST_SEEDS),
        )
    )


def _rows(model: Captioner, composer: Composer, known: Told, new: Told) -> list[str]:
    """The model beside what needs no picture."""
    others = [composer.scene(TRAIN_SEEDS[-1 - n]).tokens for n in range(CHANCE_SCENES)]
    frequent = Counter(others).most_common(1)[0][0]
    relation = Counter(tokens for tokens in (meaning(t)[1] for t in others) if tokens).most_common(1)[0][0]
    always = score(known.shown, [list(frequent)] * len(known.shown))
    greedy = tell(model, composer, new.shown, beams=1).tokens
    return [
        score(new.shown, new.tokens).row("**new compositions**, 3 beams"),
        score(new.shown, greedy).row("new compositions, greedy"),
        score(known.shown, known.tokens).row("known compositions, new scenes, 3 beams"),
        Scores(always.exact, always.things, score(known.shown, [[relation]] * len(known.shown)).relation).row(
            "the most frequent caption; the most frequent relation"
        ),
        score(known.shown, others[: len(known.shown)]).row("a caption drawn by chance"),
    ]


def _by_number(told: Told) -> list[str]:
    rows = []
    for number in sorted({len(scene.things) for scene in told.shown}):
        picked = [
            (scene, tokens)
            for scene, tokens in zip(told.shown, told.tokens, strict=True)
            if len(scene.things) == number
        ]
        rows.append(score(*zip(*picked, strict=True)).row(f"{number} things ({len(picked)} scenes)"))
    return rows


def _strange(composer: Composer, told: Told) -> str:
    """How much of what is not strange is still told right."""
    others, right = 0, 0
    for scene, tokens in zip(told.shown, told.tokens, strict=True):
        true, said = meaning(scene.tokens)[0], meaning(tokens)[0]
        for thing in set(true) - set(composer.strange):
            others, right = others + 1, right + (said[thing] == true[thing])
    return f"{right / others:.1%} of the {others} things beside them are named and counted right"


def _doubts(limit: float, known: Told, strange: Told) -> str:
    right, wrong = (
        [
            logprob
            for scene, tokens, logprob in zip(known.shown, known.tokens, known.logprobs, strict=True)
            if (scene.tokens == tuple(tokens)) == wanted
        ]
        for wanted in (True, False)
    )
    shares = [_share(one < limit for one in part) for part in (right, wrong, strange.logprobs)]
    return (
        f"{shares[0]:.0%} of the right captions of known compositions, {shares[1]:.0%} of the wrong ones, "
        f"{shares[2]:.0%} of those of scenes with a strange thing"
    )


def _samples(model: Captioner) -> list[str]:
    """What it says of the pictures in samples/."""
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".png", ".jpg"))
    results = map(succeeded, model.run([Call.of("caption", image=path) for path in files]))
    return [
        f"| {path.name} | {result.value['caption']} | {result.value['alternatives'][0]['logprob']:.2f} | "
        f"{'; '.join(warned['detail'] for warned in result.value['warnings'])} |"
        for path, result in zip(files, results, strict=True)
    ]


def _range(seeds: range) -> str:
    return f"{seeds.start:,} to {seeds.stop - 1:,}"


def _share(true: Iterable[bool]) -> float:
    each = list(true)
    return sum(each) / len(each) if each else float("nan")
