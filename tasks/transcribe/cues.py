"""Words with times to captions of two lines, as broadcasters set them: the layout alone.

Knows characters and milliseconds; no file format and no recogniser. A token is a word, or a part of a word that is
longer than a line. Breaks are chosen by least cost: Knuth, Plass, "Breaking paragraphs into lines" (1981).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from math import inf
from typing import Protocol
from unicodedata import category

LINE = 42  # characters
LINES = 2
CUE_S = 6.0  # a caption stands no longer than this, unless one word does
PAUSE_S = 0.8  # a pause this long ends a caption
LEAST_S = 0.83  # a caption stands so long where there is room (20 frames of film)
CHARACTERS_PER_S = 17  # a caption stands long enough to be read so fast where there is room

# Costs of breaks; one caption more costs 1.
BOND = 8.0  # inside a number or a name
PLAIN = 0.5  # between captions where neither a sentence ends nor the speaker breathes
RUSH = 4.0  # a caption that has no room to be read
UNEVEN = 0.2  # two lines of unlike lengths
BREATH_S = 0.25

SMALL_NUMBERS = "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
LARGE_NUMBERS = "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred"
NUMBER_WORDS = frozenset(f"{SMALL_NUMBERS} {LARGE_NUMBERS} thousand million billion point percent".split())
GAP = re.compile(r"[^\S\u00a0\u2007\u202f]+")  # white space, but for the spaces that forbid a break
SENTENCE_END = re.compile("[.!?…。！？][\"')\\]»”’]*$")
CLAUSE_END = re.compile("[.!?…,;:。！？，、；：][\"')\\]»”’]*$")
TITLE = re.compile(r"^(Mr|Mrs|Ms|Dr|Prof|St|Sen|Gen|Capt|Lt|Col|No|[A-Z])\.$")
NUMBER = re.compile(r"^[^\w\s]?\d[\d.,:/%-]*$")
JOINER = "\u200d"
# Characters that begin no line.
NOT_FIRST = frozenset(
    "、。，．！？；：）」』】〉》”’)]}%,.;:!?…ーぁぃぅぇぉっゃゅょァィゥェォッャュョ" + JOINER
)  # of a line


class Timed(Protocol):
    """A word; seconds from the start of the recording."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


@dataclass(frozen=True)
class Cue:
    """One caption: milliseconds, and lines of text."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """`space`: what stands between it and the token before it, where both share a line."""

    text: str
    space: str
    start: float
    end: float


def cues(words: Sequence[Timed], until: float = inf) -> list[Cue]:
    """Captions of at most LINES lines of LINE characters, with all of the words' text.

    They are in order, never overlap and last a millisecond at least; LEAST_S, and long enough to be read, where nothing
    else is said meanwhile and the recording lasts (`until`, seconds).
    """
    tokens = _spread(list(_tokens(words)), until)
    groups = [group for run in _runs(tokens) for group in _grouped(run)]
    made: list[Cue] = []
    for group, following in zip(groups, [*groups[1:], None], strict=False):
        begin = max(round(group[0].start * 1000), made[-1].end_ms if made else 0)
        spoken = round(group[-1].end * 1000)
        limit = max(until * 1000, spoken) if following is None else following[0].start * 1000
        lines = _lines(group)
        wanted = max(spoken, begin + 1000 * _legible_s(len("\n".join(lines))))
        made.append(Cue(begin, max(begin + 1, round(min(wanted, limit))), lines))
    return made


def _tokens(words: Sequence[Timed]) -> Iterator[Token]:
    """Tokens of LINE characters at most; those of one word have its times. Starts never fall."""
    latest = 0.0
    for word in words:
        latest = max(latest, word.start)
        for part in filter(str.strip, GAP.split(word.text)):
            for number, piece in enumerate(_pieces(part)):
                yield Token(piece, "" if number else " ", latest, max(latest, word.end))


def _pieces(text: str) -> Iterator[str]:
    """A text without spaces in parts of LINE characters at most."""
    while len(text) > LINE:
        cut = min(range(LINE, LINE // 2, -1), key=lambda at: _cut_cost(text, at))
        yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def _cut_cost(text: str, at: int) -> int:
    """Of a break before that character: 0 behind a sign, more inside a word, a number, a character."""
    before, after = text[at - 1], text[at]
    if after in NOT_FIRST or before == JOINER or category(after) in ("Mn", "Mc", "Me", "Sk"):
        return 4
    if before.isdigit() and after.isdigit():
        return 3
    if before.isascii() and after.isascii() and before.isalnum() and after.isalnum():
        return 2
    return 1 if before.isalnum() and after.isalnum() else 0


def _spread(tokens: list[Token], until: float) -> list[Token]:
    """Tokens that begin at one moment share its time, each by its characters: until they are read or the next begin."""
    made: list[Token] = []
    moments = [list(group) for _, group in groupby(tokens, key=lambda token: token.start)]
    for group, following in zip(moments, [*(group[0].start for group in moments[1:]), until], strict=False):
        start, end = group[0].start, max(token.end for token in group)
        if len(group) > 1:
            shares = list(accumulate((len(token.text) + 1 for token in group), initial=0))
            end = max(start, min(max(end, start + _legible_s(shares[-1])), following))
            times = [start + (end - start) * share / shares[-1] for share in shares]
            group = [replace(token, start=a, end=b) for token, (a, b) in zip(group, pairwise(times), strict=True)]
        made += group
    return made


def _legible_s(characters: int) -> float:
    return max(LEAST_S, characters / CHARACTERS_PER_S)


def _runs(tokens: list[Token]) -> Iterator[list[Token]]:
    """Tokens between two pauses."""
    run: list[Token] = []
    for token in tokens:
        if run and token.start - run[-1].end >= PAUSE_S:
            yield run
            run = []
        run.append(token)
    if run:
        yield run


def _grouped(run: list[Token]) -> list[list[Token]]:
    """A run's captions: of all ways to cut it, the cheapest."""
    ends = list(accumulate(len(token.space) + len(token.text) for token in run))
    behind = [*(_break_cost(one, other) for one, other in pairwise(run)), 0.0]
    best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the first n tokens, and where their last caption begins
    for end in range(1, len(run) + 1):
        ways: list[tuple[float, int]] = []
        following = run[end].start if end < len(run) else inf
        for begin in range(end - 1, -1, -1):
            length = ends[end - 1] - ends[begin] + len(run[begin].text)
            long = run[end - 1].end - run[begin].start > CUE_S
            if length > LINES * LINE + 1 or (long and ways):
                break
            cost = 0.0 if length <= LINE else _split(run[begin:end])[0]
            hurry = max(0.0, 1 - (following - run[begin].start) / _legible_s(length))
            ways.append((best[begin][0] + 1 + behind[end - 1] + cost + RUSH * hurry, begin))
        best.append(min(ways))
    groups, end = [], len(run)
    while end:
        begin = best[end][1]
        groups.append(run[begin:end])
        end = begin
    return groups[::-1]


def _break_cost(one: Token, other: Token) -> float:
    """Of a new caption between two tokens."""
    if _bound(one, other):
        return BOND
    return 0.0 if SENTENCE_END.search(one.text) or other.start - one.end >= BREATH_S else PLAIN


def _bound(one: Token, other: Token) -> bool:
    """Whether both are of one number or one name, as far as letters tell."""
    if not other.space:
        return one.text[-1].isdigit() and other.text[0].isdigit()
    if TITLE.search(one.text):
        return other.text[0].isupper() or other.text[0].isdigit()
    if CLAUSE_END.search(one.text):
        return False
    if _is_number(one.text) and _is_number(other.text):
        return True
    return one.text[0].isupper() and other.text[0].isupper() and "I" not in (one.text, other.text)


def _is_number(text: str) -> bool:
    return bool(NUMBER.search(text)) or text.lower().rstrip(".,;:!?") in NUMBER_WORDS


def _split(tokens: list[Token]) -> tuple[float, int]:
    """Cost of two lines, and the token that the second begins with; infinite where two do not hold the text."""
    length = len(_joined(tokens))
    ways, top = [(inf, 0)], 0
    for at, (one, other) in enumerate(pairwise(tokens), 1):
        top += len(one.text) + (len(one.space) if at > 1 else 0)
        bottom = length - top - len(other.space)
        if top <= LINE and bottom <= LINE:
            cost = BOND if _bound(one, other) else 0.0 if CLAUSE_END.search(one.text) else UNEVEN
            ways.append((cost + UNEVEN * abs(top - bottom) / LINE, at))
    return min(ways)


def _lines(tokens: list[Token]) -> tuple[str, ...]:
    if len(_joined(tokens)) <= LINE:
        return (_joined(tokens),)
    at = _split(tokens)[1]
    return _joined(tokens[:at]), _joined(tokens[at:])


def _joined(tokens: list[Token]) -> str:
    return "".join(token.space + token.text for token in tokens).removeprefix(" ")
