"""What is told of the weights of `rnn` and `dnn` that ship: CARD.md, from what their training measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

CARD = """# transcribe/{name}: spelled words, digits, dates and commands in English

{what}, under CTC;
{parameters:.1f} million parameters, stored as float16, and a word trigram. Trained with `python -m worker.train
transcribe/{name}` for {steps:,} steps ({minutes:.0f} minutes of a share of one CPU core; the curves are in curves.png).
Made for close speech of a small vocabulary: letters, numbers, months, a few commands.

## Data

CMU AN4 (1991), training part: {train} utterances of {speakers} speakers, American English, close microphone, 16 kHz.
Copyright (c) 1991-2005 Carnegie Mellon University; free for any purpose, commercial or otherwise, with that notice (its
licence is BSD-style; the weights hold no recording). Six more of its speakers ({validation})
were heard only to choose the weights and the word model's say. The word model has counted the words of the training
part, these six included. In training {noisy:.0%} of the recordings had noise added, from clips that are all CC0
({noises}),
and the speed was changed by a tenth.

## Held-out test: AN4's test part, {utterances} utterances of ten speakers who are in no other part

| word error rate | |
|---|---|
| always the commonest word | {commonest_word:.3f} |
| likeliest sign of each step | {greedy:.3f} |
| beam search, {beams} beams | {beams_only:.3f} |
| **beam search with the word model** (weight {weight}, bonus {bonus}) | **{language_model:.3f}** |
| the same, cut at pauses as a job is | {as_a_job:.3f} |

The weights were rounded to float16 before. Validation, by which they were chosen: {best:.3f} (likeliest signs) at step
{best_step:,}. Lower-cased, edits by words said.

## Limits

It knows about a hundred words and the letters; it spells what else it hears, mostly wrong: general speech is a task
for another model (`make bench-transcribe` tells how far off it is on read books). American adults, close microphones,
rooms; a job cuts at pauses, so a letter spoken alone between two pauses is heard without its neighbours. Confidence is
what the network says of its own signs; it is lowered where a stretch is unlike what the network learned.
"""

WHAT = {
    "rnn": "A bidirectional gated recurrent network, three layers of {hidden}",
    "dnn": "A feed-forward network over spliced frames, {layers} layers of {width}, which `transcribe/rnn` taught",
}


def card(name: str, config: Mapping, data: Mapping, history: Sequence[Mapping], folder: Path) -> str:
    """The card of the weights in `folder`; `config` is their config.json, `data` says who was heard in training."""
    best = min(history, key=lambda entry: entry["word_errors"])
    size, held_out = config["size"], config["held_out"]
    what = WHAT[name].format(**size, **({} if "layers" in size else {"layers": 1 + len(size["reach"])}))
    return CARD.format(
        name=name,
        what=what,
        parameters=(folder / "model.safetensors").stat().st_size / 2e6,
        steps=history[-1]["step"],
        minutes=history[-1]["seconds"] / 60,
        best=best["word_errors"],
        best_step=best["step"],
        **config["judge"],
        **data,
        **{{"beams": "beams_only"}.get(key, key): value for key, value in held_out.items()},
    )
