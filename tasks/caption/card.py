"""What is shipped of a captioner: its files, and the card with the test on scenes it has never seen.

The card is written by the code that tests, from the weights as they were written to disk (float16),
loaded as a worker loads them.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from tasks.algorithm import Call
from tasks.caption.cnn_lstm import Captioner, Model
from tasks.caption.scenes import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, Composer, Scene
from tasks.caption.vocabulary import meaning

TEST_SCENES = 3000
CHANCE_SCENES = 20_000  # composed to find the most frequent caption, and the captions drawn by chance
BATCH = 64
CONFUSED = 20
SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Scores:
    """Shares of scenes, 0 to 1. relation: the word for it, among the scenes that have one."""

    exact: float
    things: float
    relation: float

    def row(self, name: str) -> str:
        return f"| {name} | {self.exact:.1%} | {self.things:.1%} | {self.relation:.1%} |"


def score(shown: Sequence[Scene], told: Sequence[Sequence[str]]) -> Scores:
    """Told, token lists, against the truth: the whole caption; every thing with its number; the relation."""
    pairs = [(meaning(scene.tokens), meaning(tokens)) for scene, tokens in zip(shown, told, strict=True)]
    related = [(true[1], said[1]) for true, said in pairs if true[1]]
    return Scores(
        exact=_share(scene.tokens == tuple(tokens) for scene, tokens in zip(shown, told, strict=True)),
        things=_share(true[0] == said[0] for true, said in pairs),
        relation=_share(true == said for true, said in related))


def captions(model: Model, composer: Composer, shown: Sequence[Scene], beams: int = 3) -> list[list[str]]:
    """The tokens of the model's best caption of each scene."""
    call = Call.of("caption", params={"beams": beams})
    told = []
    for first in range(0, len(shown), BATCH):
        pictures = [composer.draw(scene, model.side) for scene in shown[first:first + BATCH]]
        told += [model.vocabulary.decode(model.tell(v, call)[0].tokens) for v in model.encode(pictures)]
    return told


def most_confused(shown: Sequence[Scene], told: Sequence[Sequence[str]]) -> list[str]:
    """Table rows of the things most often not named where they are: how often, and what was named instead."""
    seen, missed, instead = Counter(), Counter(), {}
    for scene, tokens in zip(shown, told, strict=True):
        true, said = meaning(scene.tokens)[0], meaning(tokens)[0]
        seen.update(set(true))
        for thing in set(true) - set(said):
            missed[thing] += 1
            instead.setdefault(thing, Counter()).update(set(said) - set(true))
    worst = sorted(missed, key=lambda thing: (-missed[thing] / seen[thing], thing))[:CONFUSED]
    return [f"| {thing} | {missed[thing]} of {seen[thing]} | "
            + ", ".join(f"{other} ({n})" for other, n in instead[thing].most_common(3)) + " |" for thing in worst]


def export(network: Captioner, config: dict, composer: Composer, folder: Path, history: list[dict], batch: int) -> None:
    """Write model.safetensors (float16), config.json and CARD.md into the folder."""
    tensors = {name: value.half() if value.is_floating_point() else value
               for name, value in network.state_dict().items()}
    stored = save({name: value.contiguous().cpu() for name, value in tensors.items()})
    (folder / "model.safetensors").write_bytes(stored)  # save_file would make it unreadable for other users
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = Model.load(folder, "cpu")
    shown = [composer.scene(seed) for seed in TEST_SEEDS[:TEST_SCENES]]
    told = captions(model, composer, shown)
    best = min(history, key=lambda entry: entry["wrong_captions"])
    text = CARD.format(
        things=len(composer.things), words=len(model.vocabulary), names=textwrap.fill(", ".join(composer.things), 112),
        parameters=sum(p.numel() for p in network.parameters()) / 1e6, config=config,
        steps=history[-1]["step"], best=best["step"], batch=batch, scenes=history[-1]["step"] * batch,
        minutes=history[-1]["seconds"] / 60, tests=len(shown), rows="\n".join(_rows(model, composer, shown, told)),
        novel=_novel(composer, shown, told, best["step"] * batch), confused="\n".join(most_confused(shown, told)),
        by_number="\n".join(_by_number(shown, told)), samples="\n".join(_samples(model)),
        train=_range(TRAIN_SEEDS), validation=_range(VALIDATION_SEEDS), test=_range(TEST_SEEDS))
    (folder / "CARD.md").write_text(text)


def _rows(model: Model, composer: Composer, shown: Sequence[Scene], told: list[list[str]]) -> list[str]:
    """The model beside what needs no picture."""
    others = [composer.scene(TRAIN_SEEDS[-1 - n]).tokens for n in range(CHANCE_SCENES)]
    frequent = Counter(others).most_common(1)[0][0]
    relation = Counter(tokens for tokens in (meaning(t)[1] for t in others) if tokens).most_common(1)[0][0]
    always = score(shown, [list(frequent)] * len(shown))
    return [score(shown, told).row("this model, 3 beams"),
            score(shown, captions(model, composer, shown, beams=1)).row("this model, greedy"),
            Scores(always.exact, always.things, score(shown, [[relation]] * len(shown)).relation)
            .row("the most frequent caption; the most frequent relation"),
            score(shown, others[:len(shown)]).row("a caption drawn by chance")]


def _by_number(shown: Sequence[Scene], told: list[list[str]]) -> list[str]:
    rows = []
    for number in (1, 2, 3):
        picked = [(scene, tokens) for scene, tokens in zip(shown, told, strict=True) if len(scene.things) == number]
        ones, others = zip(*picked, strict=True)
        if number == 1:
            found = score(ones, others)
            rows.append(f"| 1 thing ({len(ones)} scenes) | {found.exact:.1%} | {found.things:.1%} | - |")
        else:
            rows.append(score(ones, others).row(f"{number} things ({len(ones)} scenes)"))
    return rows


def _novel(composer: Composer, shown: Sequence[Scene], told: list[list[str]], trained: int) -> str:
    """How well it tells what it was never told: test scenes whose very caption no training scene had."""
    known = {composer.scene(seed).tokens for seed in TRAIN_SEEDS[:trained]}
    picked = [(scene, tokens) for scene, tokens in zip(shown, told, strict=True) if scene.tokens not in known]
    return f"{_share(scene.tokens == tuple(tokens) for scene, tokens in picked):.1%} of {len(picked)}"


def _samples(model: Model) -> list[str]:
    """What it says of the pictures in samples/."""
    files = sorted(path for path in SAMPLES.iterdir() if path.suffix in (".png", ".jpg"))
    results = model.run([Call.of("caption", image=path) for path in files])
    return [f"| {path.name} | {result.value['caption']} | {result.value['alternatives'][0]['logprob']:.2f} |"
            for path, result in zip(files, results, strict=True)]


def _range(seeds: range) -> str:
    return f"{seeds.start:,} to {seeds.stop - 1:,}"


def _share(true) -> float:
    true = list(true)
    return sum(true) / len(true) if true else float("nan")


CARD = """# caption/cnn-lstm

Tells small composed scenes of emoji in a sentence: one to three things, their number, and how they lie to one
another ('two cats above a guitar'). A convolutional encoder and an LSTM, {parameters:.2f} million weights, after
Vinyals et al. 2015, 'Show and Tell'; the departures are listed in tasks/caption/cnn_lstm.py.

**It knows nothing but those scenes.** A photograph it describes as if it were one of them, which is wrong, and may
be said with confidence: see the last table.

## Test

The first {tests} scenes of the test seeds ({test}). Training ({train}) and
validation ({validation}) never see these. Exact: the whole caption. Things: every thing and its number.
Relation: the word for it, of the scenes that have one; whether the right thing is named first, 'exact' judges.

| | exact | things | relation |
|---|---|---|---|
{rows}

By how much there is to see (3 beams):

| | exact | things | relation |
|---|---|---|---|
{by_number}

Of the test scenes whose very caption no training scene had, the whole caption is right in {novel}. The things and
their pictures are the same in training and test: this measures new arrangements, not new things.

The {confused_number} things most often missed, with what was named instead:

| thing | missed | named instead |
|---|---|---|
{confused}

## Training

`python -m worker.train caption/cnn-lstm` with BACKLOT_DATA; one CPU thread beside other work, {minutes:.0f} minutes,
{steps} steps of {batch} scenes ({scenes:,}, each drawn once), AdamW, one cycle; weights of step {best}, the best on 384
validation scenes. curves.png has the course. Input {config[side]} x {config[side]} pixels, widths {config[widths]},
vectors of {config[size]}; {words} tokens. Stored as float16.

Data: Noto Color Emoji pictures (Copyright Google LLC, Apache-2.0, googlefonts/noto-emoji, February 2024), English
names from Unicode CLDR (Unicode License v3). The things, {things}, are those that the rule `is_shown` of
tasks/caption/scenes.py takes by their names and groups; none was chosen by results:

{names}.

## What it says of the samples

| picture | caption | log-probability |
|---|---|---|
{samples}
""".replace("{confused_number}", str(CONFUSED))
