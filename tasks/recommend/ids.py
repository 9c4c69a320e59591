"""The one rule for ids, in every table, every format and every input: which spellings are the same id.

    3, 3.0, '3', '3.0', ' 3 '         one id: '3'
    007, '007'                        an id of its own: zeros in front are kept, as in CSV there is no other way to tell
    'Café', 'Cafe' + U+0301           one id: Unicode's NFC
    'A', 'a'                          two ids
    '', 'nan', 'NULL', 'None', '\\N'   no id
    true, [3], {"id": 3}              no id (JSON and Parquet; in CSV they are texts like any other)

It knows text alone, no table; the API process may import it.
"""

import math
import re
import unicodedata
from decimal import Decimal

MISSING = frozenset({"", "nan", "null", "none", "n/a", "#n/a", "<na>", "nat", "\\n"})
"""What spreadsheets, data frames and databases write for nothing; letters of either case."""
ODD = "\0"
"""Stands for a cell that is neither a text nor a number."""
HALF = ODD + "half"
"""Stands for a text with a lone surrogate."""
EXACT = 2**53
"""A float past it may not be the whole number that it was made of."""
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_UNSEEN = "\ufeff\u200b\u200e\u200f\u2060"


def one(value: object) -> str:
    """The id that a cell or an input names; '' for none. Errors: ValueError for what is neither a text nor a number."""
    if isinstance(value, str):
        return _of_text(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        raise ValueError("a boolean is no id")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else _of_float(value)
    if isinstance(value, Decimal):
        return _of_text(f"{value:f}") if value.is_finite() else ""
    if isinstance(value, bytes):
        return _of_text(value.decode())  # UnicodeDecodeError is a ValueError
    raise ValueError("neither a text nor a number")


def _of_float(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _of_text(value: str) -> str:
    if not value.isascii():
        value.encode()  # half a character: UnicodeEncodeError is a ValueError
        value = unicodedata.normalize("NFC", value).strip(_UNSEEN)
    if ODD in value:
        raise ValueError("neither a text nor a number")
    value = " ".join(value.split())
    if value.lower() in MISSING:
        return ""
    whole = _WHOLE.fullmatch(value) if value.endswith("0") else None
    return "0" if whole and whole[1] == "-0" else whole[1] if whole else value


def is_whole(value: str) -> bool:
    """Whether an id is a whole number, as most are that databases give."""
    return value.isascii() and value.removeprefix("-").isdigit()
