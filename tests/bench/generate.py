"""python -m tests.bench.generate: the kind `generate`, its networks on tiny Shakespeare and prose, batches, meanings.

Writes GENERATE.md here (elsewhere with --out). Needs BACKLOT_DATA with text/. What it trains (about half an hour of one
quiet core) is kept under .train/generate, so that a second run only evaluates.
"""

import math
import os
import signal
import sys
import time
from pathlib import Path

import click
import torch
from rich.console import Console
from safetensors.torch import load_file

from tasks.algorithm import Call, load
from tasks.generate.training import recipes as train
from tasks.generate.training.baselines import KneserNey
from tasks.generate.training.tokens import prose
from tasks.registry import Registry
from tests.bench import generate_meaning as meaning
from tests.bench import generate_shakespeare as shakespeare
from tests.bench import generate_worker as worker
from tests.bench import machine

KEPT = Path(".train/generate")
MODELS = ("rnn", "lstm", "transformer")
TOGETHER, TOKENS = 32, 128
OPENINGS = ("Once upon a time", "Lily and Tom", "The big dog", "One day, a little bird", "Tom had a red ball.")
console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parent)
@click.option(
    "--only",
    type=click.Choice(["shakespeare", "prose", "together", "worker", "meaning"]),
    help="this part alone, printed and not written",
)
@click.option("--train", "what", type=click.Choice(list(shakespeare.RECIPES)), help="train one on Shakespeare, no more")
def main(out: Path, only: str | None, what: str | None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with us
    start, facts, data = time.monotonic(), machine.facts(), Path(os.environ["BACKLOT_DATA"])
    if what:
        shakespeare.trained(what, data, KEPT, say)
        return
    parts = {
        "shakespeare": lambda: shakespeare.table(data, KEPT, say),
        "prose": lambda: on_prose(data),
        "together": side_by_side,
        "worker": lambda: worker.table(OPENINGS),
        "meaning": lambda: meaning.table(data, (*MODELS, "stories"), say),
    }
    made = {name: part() for name, part in parts.items() if only in (None, name)}
    facts["took"] = f"{time.monotonic() - start:.0f} s, with networks that were trained before"
    if only:
        say("\n".join(made[only]))
    else:
        (out / "GENERATE.md").write_text(
            REPORT.format(
                facts="\n".join(f"- {k}: {v}" for k, v in facts.items()),
                **{name: "\n".join(lines) for name, lines in made.items()},
            )
        )


def on_prose(data: Path) -> list[str]:
    """What ships, on the held-out ends of the novels, beside counts of the same training tokens."""
    tokens = prose(data)
    per_character = len(tokens.test) / tokens.test_characters
    nats = {
        f"{order}-gram, Kneser-Ney": KneserNey(tokens.train.tolist(), tokens.size, order).nats_per_token(
            tokens.test.tolist()
        )
        for order in (2, 3, 4, 5)
    }
    for name in MODELS:
        recipe = train.RECIPES[name](data, "cpu")
        shipped = load_file(Registry.default().model("generate", name).weights_path() / "model.safetensors")
        recipe.network.load_state_dict({key: value.float() for key, value in shipped.items()})
        nats[f"`{name}`"] = recipe.nats(tokens.test)
        say(f"{name}: {math.exp(nats[f'`{name}`']):.2f}")
    return [
        "| model | perplexity a token | nats a character |",
        "|---|---|---|",
        *(f"| {name} | {math.exp(value):.1f} | {value * per_character:.3f} |" for name, value in nats.items()),
    ]


def side_by_side() -> list[str]:
    """Tokens a second of each model: calls one at a time, and 32 in one run; and whether the texts are the same."""
    lines = [
        f"| model | one at a time, tokens/s | {TOGETHER} together, tokens/s | times | same texts |",
        "|---|---|---|---|---|",
    ]
    for name in ("stories", *MODELS):
        model = load("generate", name)
        model.run(calls()[:2])  # what is made at first use is made now
        alone, slow = timed(lambda model=model: [model.run([call])[0] for call in calls()])
        together, fast = timed(lambda model=model: model.run(calls()))
        same = sum(a.value == b.value for a, b in zip(alone, together, strict=True))
        lines.append(f"| {name} | {slow:.0f} | {fast:.0f} | {fast / slow:.1f} | {same} of {TOGETHER} |")
        say(lines[-1])
    return lines


def calls() -> list[Call]:
    return [
        Call.of("generate", {"seed": n, "max_tokens": TOKENS}, prompt=OPENINGS[n % len(OPENINGS)])
        for n in range(TOGETHER)
    ]


def timed(run) -> tuple[list, float]:
    """Results, and tokens a second."""
    start = time.perf_counter()
    results = run()
    return results, sum(r.value["usage"]["completion_tokens"] for r in results) / (time.perf_counter() - start)


REPORT = """# Measured by `make bench-generate`

Seeds are those of the recipes: weights from seed 0, step n draws from seed n; batches from seeds 0 to 31; films from
seed 0. A busy machine makes times worse, and qualities not.

{facts}

## Tiny Shakespeare, in characters: the last 10 % held out

85 % of the text is learned from first, and the 5 % after it too in the later steps; the weights are those of the last
step. nanoGPT's recipe for a CPU has 1.88 by its README, that for a GPU (10.6 M parameters, more than 300 times
the computing) 1.470.

{shakespeare}

## Prose: what ships, on the last 5 % of each novel

The same 2,048 byte pairs and the same cut for all; n-grams (interpolated modified Kneser-Ney) are counts of the
training part.

{prose}

## Side by side

{together}

{worker}

## Meaning: a film's neighbours by its plot

1,000 films; the 5 nearest by cosine of each. Chance: any two films.

{meaning}
"""

if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    main()
