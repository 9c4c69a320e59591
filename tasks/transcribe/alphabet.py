"""The signs that `rnn` and `dnn` write: CTC's blank, a space, an apostrophe, a to z. Knows no network and no sound."""

BLANK, SPACE = 0, 1
SIGNS = ("", " ", "'", *"abcdefghijklmnopqrstuvwxyz")
NUMBER = {sign: number for number, sign in enumerate(SIGNS) if sign}


def encode(text: str) -> list[int]:
    """Sign numbers of a text, lower-cased; what is no sign falls away, runs of spaces are one."""
    plain = " ".join("".join(c if c in NUMBER else " " for c in text.lower()).split())
    return [NUMBER[c] for c in plain]


def decode(numbers: list[int]) -> str:
    return "".join(SIGNS[n] for n in numbers)
