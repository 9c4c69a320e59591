"""What is told of the weights that ship: CARD.md, written by the training from what it measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.algorithm import Call, implementation, succeeded

PROMPTS = ("It was a dark and stormy night, and", '"My dear Watson," said Holmes,', "The old house by the sea")

ABOUT = {
    "lstm": (
        "An LSTM language model",
        "The test text is read as 16 streams, each from no past.",
        "The last 512 tokens of a prompt are read.",
    ),
    "rnn": (
        "A plain recurrent language model",
        "The test text is read as 16 streams, each from no past.",
        "The last 512 tokens of a prompt are read.",
    ),
    "transformer": (
        "A transformer language model, GPT style,",
        "Of the test text, each token is scored with the 128 to 255 tokens before it.",
        "Attention sees 256 tokens, and a prompt may be no longer unless it is to be cut.",
    ),
}

CARD = """# generate/{algorithm}: English prose of the 19th century, continued

{what} over byte-level BPE tokens, {parameters} parameters, stored as float16.
Trained with `python -m worker.train generate/{algorithm}` for {steps:,} steps
({minutes:.0f} minutes of a shared CPU core; the curves are in curves.png). Made to show a real model at work on a small
machine: it writes in the manner of its books and keeps a phrase together; sentences often lose their sense, a story its
thread after one or two, and some words are of its own making.

## Data

Fourteen novels of Project Gutenberg (through the GITenberg repositories), all in the public domain: Austen, *Pride and
Prejudice*; Baum, *The Wonderful Wizard of Oz*; Burnett, *The Secret Garden*; Carroll, *Alice's Adventures in
Wonderland*; Dickens, *A Tale of Two Cities*, *Great Expectations*; Doyle, *The Adventures of Sherlock Holmes*; Shelley,
*Frankenstein*; Stevenson, *Treasure Island*; Stoker, *Dracula*; Twain, *Adventures of Huckleberry Finn*; Wells, *The
Time Machine*, *The War of the Worlds*; Wilde, *The Picture of Dorian Gray*. They carry the views and the words of their
time, and so may the output.

The last 5 % of each book are the test, the 5 % before them the validation, by characters, cut at a paragraph; the rest
is the training text, from which alone the tokens were learned. So the test has the authors and the people of the
training text, but none of its pages: it says how well these books go on, not how well any English does.

## Held-out test: {tokens:,} tokens, {characters:,} characters

| | perplexity a token | nats a character | bits a character |
|---|---|---|---|
{rows}

The weights were rounded to float16 before. {read}
Unigram, trigram (interpolated, Witten-Bell) and 4-gram (interpolated modified Kneser-Ney) are counts of the same
training tokens. Validation, by which the weights were chosen: perplexity {best:.1f} at step {best_step:,} (its first
16,384 tokens).

## Samples, the first that came (seed 0, temperature 0.8, top_p 0.95, 80 tokens)

{samples}

## Limits

English only. {limit}
Curly quotes and long dashes are read as plain ones, and plain ones are written. No facts are known to it and no
instruction is followed.
"""

NAMES = {"unigram": "unigram", "trigram": "trigram", "kneser_ney": "4-gram"}


def card(algorithm: str, measured: Mapping, history: Sequence[Mapping], folder: Path) -> str:
    """The card of the weights in `folder`: the numbers of LanguageRecipe.measure, and samples made from the files."""
    best = min(history, key=lambda entry: entry["perplexity"])
    what, read, limit = ABOUT[algorithm]
    names = {**NAMES, algorithm: "**this model**"}
    return CARD.format(
        algorithm=algorithm,
        what=what,
        read=read,
        limit=limit,
        parameters=f"{_parameters(folder) / 1e6:.1f} million",
        steps=history[-1]["step"],
        minutes=history[-1]["seconds"] / 60,
        tokens=measured["tokens"],
        characters=measured["characters"],
        rows="\n".join(_row(name, measured[key]) for key, name in names.items()),
        best=best["perplexity"],
        best_step=best["step"],
        samples="\n\n".join(_samples(algorithm, folder)),
    )


def _row(name: str, values: Mapping[str, float]) -> str:
    nats = values["nats_per_character"]
    return f"| {name} | {values['perplexity']:.1f} | {nats:.3f} | {nats / 0.6931471805599453:.3f} |"


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as weights:
        return sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118


def _samples(algorithm: str, folder: Path) -> list[str]:
    model = implementation("generate", algorithm).load(folder, "cpu")
    params = {"seed": 0, "temperature": 0.8, "top_p": 0.95, "max_tokens": 80}
    results = map(succeeded, model.run([Call.of("generate", params, prompt=prompt) for prompt in PROMPTS]))
    return [
        "> **" + prompt + "**" + result.value["text"].replace("\n\n", "\n>\n> ")
        for prompt, result in zip(PROMPTS, results, strict=True)
    ]
