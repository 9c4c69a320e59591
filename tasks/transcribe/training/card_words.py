"""What is told of the weights of `hmm-words` that ship: CARD.md, from what their training measured."""

from collections.abc import Mapping, Sequence

CARD = """# transcribe/hmm-words: ten spoken English digits

Hidden Markov models of whole words, {states} states left to right, {mixtures} Gaussians a state over {size} numbers a
frame (cepstra and their slopes), and one state of silence; {parameters:,} numbers in all. Trained with `python -m
worker.train transcribe/hmm-words`: {iterations} iterations of Baum-Welch over {train:,} recordings ({minutes:.1f}
minutes; the curves are in curves.png).

## Data

Free Spoken Digit Dataset, Zohar Jackson et al., CC BY-SA 4.0: six men, 8 kHz, single words. The weights hold no
recording; whoever takes the view that they are an adaptation of them finds them under the same licence, CC BY-SA 4.0.
Of each speaker's 50 recordings of a digit the official split keeps five for the test; five more ({validation}) were
heard only to choose the weights. Quiet rooms before and behind each word were made of background clips that are all
CC0 ({noises}).

## Held-out test: the official split's {test} recordings, of the speakers who were heard in training

| accuracy | |
|---|---|
| always one digit | {chance:.3f} |
| **the one word likeliest** | **{isolated:.3f}** |
| any number of words, as a job hears a stretch | {free:.3f} |

Validation, by which the iteration was chosen: {best:.3f} wrong at step {best_step}.

## One speaker left out in turn ({loso_iterations} iterations each; the one word likeliest)

| speaker | accuracy |
|---|---|
{speakers}
| **mean** | **{loso:.3f}** |

## Limits

Whatever is said, it hears digits. Six men are few: a voice unlike theirs is heard as the row above says, or worse;
women and children were in no part. Nothing above 4 kHz is heard. Confidence compares the ten words alone; it is
lowered where the filler fits better than they do.
"""


def card(facts: Mapping, history: Sequence[Mapping]) -> str:
    """`facts`: what HmmWords.export has measured and knows of its data."""
    best = min(history, key=lambda entry: entry["errors"])
    by_speaker = facts["left_out"]
    return CARD.format(
        **facts,
        minutes=history[-1]["seconds"] / 60,
        best=best["errors"],
        best_step=best["step"],
        speakers="\n".join(f"| {name} | {value:.3f} |" for name, value in sorted(by_speaker.items())),
        loso=sum(by_speaker.values()) / len(by_speaker),
    )
