"""The measured figures of transcribe as a page: TRANSCRIBE.md. Knows tables, not how anything was measured."""

from collections.abc import Mapping, Sequence

HEAD = """# Transcribe, measured

`make bench-transcribe` (`python -m tests.bench.transcribe`) writes this page, with `BACKLOT_DATA` set; seed 0. Every
figure is of whole jobs, a file in and a transcript out, on one core (`OMP_NUM_THREADS=1`): word error rate by jiwer,
lower-cased, without punctuation; the real-time factor is CPU seconds a second of sound, decoding and cutting at
pauses included.
What was trained on what, and the figures of whole utterances, the cards beside the weights tell.
`hmm-an4` is `hmm` with trigrams of AN4's training texts (tests/bench/arpa.py) in place of its own language model.
"""

TITLES = {
    "an4": "CMU AN4, test part: ten speakers nobody was trained on",
    "librispeech": "LibriSpeech, a seeded sample of the dev speakers, half clean, half hard",
    "fsdd": "Free Spoken Digits, the official test recordings (speakers are known, recordings are not)",
    "noise": "In noise: word error rate with `denoise` off and spectral",
}
NOISE = """Speech as in the tables above (AN4: 24 recordings; hmm-words hears 60 digits), over clips
that no training heard, one drawn for each recording."""


def render(results: Mapping) -> str:
    parts = [HEAD]
    for name, title in TITLES.items():
        if name in results:
            rows = results[name]["rows"]
            table = _noise(rows) if name == "noise" else _plain(rows)
            parts += [f"## {title}\n", table, _facts(results[name])]
    return "\n".join(parts) + "\n"


def _plain(rows: Sequence[Mapping]) -> str:
    lines = [
        "| model | params | word error rate | whole recordings right | real-time factor |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['model']} | {_params(row['params'])} | {row['word_error_rate']:.3f} | {row['whole']:.3f} | "
        f"{row['real_time_factor']:.3f} |"
        for row in rows
    ]
    shown = [
        f"- {row['model']}: *{said}* -> *{heard or '(nothing)'}*"
        for row in rows
        if not row["params"]
        for said, heard in row["examples"][:3]
    ]
    return "\n".join(
        [*lines, "", f"{rows[0]['recordings']} recordings, {rows[0]['words']} words. The first three:", "", *shown, ""]
    )


def _noise(rows: Sequence[Mapping]) -> str:
    ratios = sorted({row["snr_db"] for row in rows}, key=lambda ratio: -(ratio if ratio is not None else 999))
    names = list(dict.fromkeys(row["model"] for row in rows))
    found = {(row["model"], row["snr_db"], row["params"]["denoise"]): row["word_error_rate"] for row in rows}
    lines = [
        NOISE,
        "",
        "| model | denoise | "
        + " | ".join("as it is" if ratio is None else f"{ratio} dB" for ratio in ratios)
        + " | mean |",
        "|---|---|" + "---|" * (len(ratios) + 1),
    ]
    for name in names:
        for denoise in ("off", "spectral"):
            values = [found[name, ratio, denoise] for ratio in ratios]
            lines.append(
                f"| {name} | {denoise} | "
                + " | ".join(f"{value:.3f}" for value in values)
                + f" | {sum(values) / len(values):.3f} |"
            )
    return "\n".join([*lines, ""])


def _params(params: Mapping) -> str:
    return ", ".join(f"{name} {value}" if value != "..." else name for name, value in params.items()) or "as it comes"


def _facts(result: Mapping) -> str:
    machine = result["machine"]
    took = ", ".join(f"{names} {seconds} s" for names, seconds in result["seconds"].items())
    return f"Took: {took}; {machine['measured at']}, {machine['cores']}, load {machine['load before']}.\n"
