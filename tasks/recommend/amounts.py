"""Numbers of a column, judged over all of it: what a comma, a dot, a slash or a star means there.

    4  4.5  -1  1e3  .5           as they are
    1 234  1'234  1,234,567       thousands, whatever else there is
    1,234.5  1.234,5              the last of two different marks is the decimal one
    4,5  0,125  1234,5            a decimal comma: behind it are not three digits, or before it more than three
    12,500                        thousands or a decimal comma, by what the other cells say; else refused
    4/5  80%  4 stars  ★★★★☆      their number, of the largest scale that occurs

It knows cells, not what the numbers count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow
import pyarrow.compute as compute

from tasks.errors import InvalidInput
from tasks.recommend.ids import MISSING
from tasks.warning import warning

PLAIN = r"^\s*[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*$"
SIMPLE = r"^-?[0-9]{1,300}(\.[0-9]{1,300})?$"
UNSURE = r"^-?[1-9][0-9]{0,2}\.[0-9]{3}$"
DIGITS_MAX = 300  # of a number; more is none
GROUPS = {",": re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+"), ".": re.compile(r"[1-9][0-9]{0,2}(\.[0-9]{3})+")}
SPACED = re.compile(r"[1-9][0-9]{0,2}([ '’\u00a0\u202f\u2009][0-9]{3})+(?=[.,][0-9]+$|$)")
OF = re.compile(r"(.+?)\s*(?:/|\bout of\b|\bof\b)\s*([0-9]+(?:[.,][0-9]+)?)\s*(?:stars?|points?)?", re.IGNORECASE)
UNIT = re.compile(r"(.+?)\s*(?:stars?|points?|pts\.?|plays?|listens?|views?|times|x)", re.IGNORECASE)
STARS = re.compile("[★⭐\ufe0f*]+[☆½]*|½")
NOTHING = (-1.0, -99.0, -999.0)
"""Negative numbers that stand for none where all others are 0 and more."""


@dataclass(frozen=True)
class Amounts:
    """`values` (n,) float64, NaN where there is none; `unreadable` (n,) bool: there is something, but no number;
    `placeholder` (n,) bool: there is the one negative number that stands for none."""

    values: np.ndarray
    unreadable: np.ndarray
    placeholder: np.ndarray
    warnings: list[dict[str, str]]


def read(chunks: Sequence[pyarrow.Array], column: str, table: str) -> Amounts:
    """Errors: InvalidInput for cells such as '12,500' whose column does not say what their mark means."""
    values: list[np.ndarray] = []
    unreadable: list[np.ndarray] = []
    texts = [chunk for chunk in chunks if _is_text(chunk)]
    if all(map(_simple, texts)):  # what most tables have: read by Arrow
        chunks, texts = [chunk.cast(pyarrow.float64()) if _is_text(chunk) else chunk for chunk in chunks], []
    meanings, warnings = _judged(_distinct(texts), column, table) if texts else ({}, [])
    for chunk in chunks:
        found, odd = _texts(chunk, meanings) if _is_text(chunk) else _numbers(chunk)
        values.append(found)
        unreadable.append(odd)
    whole = np.concatenate(values) if values else np.empty(0)
    placeholder = _placeholder(whole)
    absent = np.zeros(len(whole), bool) if placeholder is None else whole == placeholder
    odd = np.concatenate(unreadable) if unreadable else np.empty(0, bool)
    return Amounts(np.where(absent, np.nan, whole), odd, absent, warnings)


def _is_text(chunk: pyarrow.Array) -> bool:
    return bool(pyarrow.types.is_large_string(chunk.type))


def _simple(chunk: pyarrow.Array) -> bool:
    """Whether all cells are numbers that no judgement can change."""
    plain = compute.match_substring_regex(chunk, SIMPLE)
    unsure = compute.match_substring_regex(chunk, UNSURE)
    return bool(compute.all(plain).as_py() in (True, None) and not compute.any(unsure).as_py())


def _placeholder(values: np.ndarray) -> float | None:
    negative = np.unique(values[values < 0])
    if len(negative) != 1 or float(negative[0]) not in NOTHING or not (values >= 0).any():
        return None
    return float(negative[0])


def _numbers(chunk: pyarrow.Array) -> tuple[np.ndarray, np.ndarray]:
    if pyarrow.types.is_timestamp(chunk.type):
        return np.full(len(chunk), np.nan), np.ones(len(chunk), bool)
    values = chunk.cast(pyarrow.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False).copy()
    odd = np.isinf(values)
    values[odd] = np.nan
    return values, odd


def _distinct(texts: Sequence[pyarrow.Array]) -> list[str]:
    """Cells, each once."""
    found: dict[str, None] = {}
    for chunk in texts:
        found |= dict.fromkeys(compute.unique(chunk.drop_null()).to_pylist())
    return [*found]


def _texts(chunk: pyarrow.Array, meanings: dict[str, float | None]) -> tuple[np.ndarray, np.ndarray]:
    encoded = chunk.dictionary_encode()
    means = [meanings[text] for text in encoded.dictionary.to_pylist()]
    table = np.array([*(np.nan if value is None else value for value in means), np.nan], float)
    odd = np.array([*(value is None for value in means), False], bool)
    places = encoded.indices.fill_null(len(means)).to_numpy(zero_copy_only=False)
    return table[places], odd[places]


def _judged(texts: Sequence[str], column: str, table: str) -> tuple[dict[str, float | None], list[dict[str, str]]]:
    """The number of each text, NaN where it says that there is none, None where it is none."""
    bare = {text: _bare(text) for text in texts}
    marks, warnings = _marks([number for parts in bare.values() if parts for number in parts[0]], column, table)
    scales = {parts[1] for parts in bare.values() if parts and parts[1]}
    largest = max(scales, default=0.0)
    found: dict[str, float | None] = {}
    for text, parts in bare.items():
        if text.strip().lower() in MISSING:
            found[text] = np.nan
        elif parts is None:
            found[text] = None
        else:
            value = _value(parts[0][0], marks) if parts[0] else parts[2]
            found[text] = value if value is None or not parts[1] or len(scales) == 1 else value / parts[1] * largest
    return found, warnings


def _bare(text: str) -> tuple[list[str], float, float] | None:
    """([the number as it is written], the scale that it is of, or 0, 0), or ([], 0, the number); None for no number."""
    text = text.strip()
    if not text or len(text) > DIGITS_MAX:
        return None
    if STARS.fullmatch(text):
        return [], 0, float(len(re.findall("[★⭐*]", text)) + 0.5 * text.count("½"))
    scale = 0.0
    if text.endswith("%"):
        text, scale = text[:-1].strip(), 100.0
    elif of := OF.fullmatch(text):
        text, scale = of[1], float(of[2].replace(",", "."))
        if not scale:
            return None
    elif unit := UNIT.fullmatch(text):
        text = unit[1]
    text = text.replace("−", "-")
    sign = "-" if text.startswith("-") else ""
    text = text.removeprefix("-") if sign else text.removeprefix("+")
    if text[:1] in ("+", "-"):
        return None
    spaced = SPACED.match(text)
    if spaced:
        text = re.sub(r"[ '’\u00a0\u202f\u2009]", "", spaced[0]) + text[spaced.end() :].replace(".", ",")
        text = text if "," not in text else text.replace(",", "!")
    return ([sign + text], scale, 0.0) if text else None


def _marks(numbers: Sequence[str], column: str, table: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What ',' and '.' mean in a column: 'decimal' or 'thousands'.

    Errors: InvalidInput where cells such as '12,500' are there, and no other cell says which.
    """
    said: dict[str, set[str]] = {",": set(), ".": set()}
    unsure: dict[str, list[str]] = {",": [], ".": []}
    whole = []
    for number in numbers:
        text = number.removeprefix("-")
        if "," in text and "." in text:
            last = max(text, key=lambda mark: text.rfind(mark) if mark in ",." else -1)
            said[last].add("decimal")
            said["," if last == "." else "."].add("thousands")
        elif "," in text or "." in text:
            mark = "," if "," in text else "."
            groups = GROUPS[mark].fullmatch(text)
            if text.count(mark) > 1:
                said[mark] |= {"thousands"} if groups else set()
            elif groups:
                unsure[mark].append(number)
            else:
                said[mark].add("decimal")
        elif text.isdigit():
            whole.append(int(text[:20]))
    meanings, warnings = {}, []
    for mark, other in ((",", "."), (".", ",")):
        # one mark that is decimal leaves thousands to the other
        hints = said[mark] | ({"thousands"} if "decimal" in said[other] else set())
        hints |= {"decimal"} if "thousands" in said[other] else set()
        if not unsure[mark] or len(hints) == 1:
            meanings[mark] = hints.pop() if len(hints) == 1 else "decimal"
        elif not hints and _grouped(whole):
            meanings[mark] = "thousands"
            warnings.append(_guess(mark, unsure[mark][0], whole, column, table))
        elif mark == "." and not hints:
            meanings[mark] = "decimal"
        else:
            shown = ", ".join(repr(number) for number in unsure[mark][:3])
            raise InvalidInput(
                f"the column {column!r} of the input {table} has numbers such as {shown}: whether the "
                f"{'comma' if mark == ',' else 'dot'} is decimal or marks thousands, no other number there says; write "
                "them without marks of thousands and with a decimal dot"
            )
    return meanings, warnings


def _grouped(whole: Sequence[int]) -> bool:
    """Whether whole numbers end just where marks of thousands would begin."""
    return bool(whole) and max(whole) < 1000 and max(whole) >= 100


def _guess(mark: str, number: str, whole: Sequence[int], column: str, table: str) -> dict[str, str]:
    said = f"{number!r} in the column {column!r} of the input {table} was read as {number.replace(mark, '')}: the "
    said += f"whole numbers beside it end at {max(whole)}, where marks of thousands begin; write numbers without them"
    return warning("numbers_guessed", said)


def _value(text: str, marks: dict[str, str]) -> float | None:
    sign = -1 if text.startswith("-") else 1
    text = text.removeprefix("-")
    if re.fullmatch(PLAIN, text) and "." not in text:
        return _finite(sign * float(text))
    if "!" in text:
        return _finite(sign * float(text.replace("!", "."))) if re.fullmatch(r"[0-9]+![0-9]+", text) else None
    for mark, other in ((",", "."), (".", ",")):
        if marks[mark] == "thousands" and mark in text:
            head, found, tail = text.partition(other)
            if not GROUPS[mark].fullmatch(head) or (found and not tail.isdigit()):
                return None
            return _finite(sign * float(head.replace(mark, "") + ("." + tail if found else "")))
    text = text.replace(",", ".")
    return _finite(sign * float(text)) if re.fullmatch(PLAIN, text) else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
