"""The text of a caller's file: its encoding, the ends of its lines, and its lines one by one.

It knows bytes and characters, no tables. Text is UTF-8; UTF-16 or UTF-32 by its byte order mark, or UTF-16 by where its
zeros stand; else the legacy encoding that charset-normalizer takes it for, which a warning names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from tasks.errors import TooLarge, UnsupportedMedia
from tasks.recommend.cleaning import Cleaning
from tasks.warning import warning

MAX_LINE = 1024 * 1024  # characters
PIECE = 1024 * 1024  # bytes that are looked at together
SAMPLE = 64 * 1024  # bytes of lines that are not ASCII, to guess an encoding from
WESTERN = "cp1252"
LEGACY = [WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "gb18030", "euc_kr", "big5", "koi8_r"]
MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8",
}
BINARY = {
    b"PK": "an Excel workbook or ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Text:
    """A file as text. `ends`: '\\n' or '\\r', where its lines end; `escaped`: it has backslashes before double quotes;
    `zeros`: it has NUL characters."""

    path: Path
    encoding: str
    ends: str
    escaped: bool = False
    zeros: bool = False

    def lines(self) -> Iterator[str]:
        """Lines with their ends. Bytes that the encoding does not know become U+FFFD. Errors: TooLarge."""
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        with self.path.open(encoding=encoding, errors="replace", newline=self.ends) as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise TooLarge(f"line {number} is longer than {MAX_LINE:,} characters, the most that is read")
                yield line

    def first(self) -> str:
        """The first line that is not blank; '' where there is none."""
        return next((line for line in self.lines() if line.strip()), "")


def text_of(path: Path, cleaning: Cleaning) -> Text:
    """Errors: UnsupportedMedia for a binary file."""
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, name in BINARY.items():
        if head.startswith(magic) and _CONTROL.search(head):
            raise _binary(cleaning.table, name)
    wide = next((name for mark, name in MARKS.items() if head.startswith(mark) and name != "utf-8"), "") or _zeros(head)
    if wide:
        if not head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
            _guessed(cleaning, wide)
        decoded = path.read_bytes()[: 4 * PIECE].decode(wide, errors="replace")
        return Text(path, wide, _ends("\n" in decoded, "\r" in decoded), '\\"' in decoded)
    if len(_CONTROL.findall(head)) > len(head) / 100 + 1:
        raise _binary(cleaning.table, "a binary file")
    return _narrow(path, cleaning)


def _binary(table: str, what: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"the input {table} is {what}; a binary file is read only if it is Parquet: save it as CSV")


def _ends(feeds: bool, returns: bool) -> str:
    return "\r" if returns and not feeds else "\n"


def _zeros(head: bytes) -> str:
    """UTF-16 without a mark: of most pairs of bytes one is zero, in Western text."""
    half = len(head) // 2
    if half < 4:
        return ""
    even, odd = head[0 : 2 * half : 2].count(0) / half, head[1 : 2 * half : 2].count(0) / half
    return "utf-16-le" if odd > 0.4 and even < 0.05 else "utf-16-be" if even > 0.4 and odd < 0.05 else ""


def _narrow(path: Path, cleaning: Cleaning) -> Text:
    """Of one that is no UTF-16: looked through once, in pieces of whole lines."""
    sample = bytearray()  # from the first line on that is not UTF-8
    good = bad = 0
    feeds = returns = escaped = zeros = False
    with path.open("rb") as file:
        while piece := file.read(PIECE) + file.readline(MAX_LINE):
            feeds, returns = feeds or b"\n" in piece, returns or b"\r" in piece
            escaped, zeros = escaped or b'\\"' in piece, zeros or b"\0" in piece
            if not piece.isascii() and not (good and not bad and _is_utf8(piece)):
                for line in piece.splitlines(keepends=True):
                    if not line.isascii():
                        is_good = _is_utf8(line)
                        good, bad = good + is_good, bad + (not is_good)
                        if len(sample) < SAMPLE and (sample or not is_good):
                            sample += line
    ends = _ends(feeds, returns)
    if bad and good > bad:
        cleaning.warnings.append(
            warning(
                "encoding_guessed",
                f"{bad:,} of {good + bad:,} lines of the input {cleaning.table} with letters beyond ASCII are not "
                "UTF-8: their odd bytes became U+FFFD; save the file as UTF-8",
            )
        )
    encoding = "utf-8" if good >= bad else _guess(bytes(sample))
    if encoding != "utf-8":
        _guessed(cleaning, encoding)
    return Text(path, encoding, ends, escaped, zeros)


def _guessed(cleaning: Cleaning, encoding: str) -> None:
    said = f"the input {cleaning.table} is not UTF-8 and was read as {encoding}: if letters came out wrong, save it as "
    cleaning.warnings.append(warning("encoding_guessed", said + "UTF-8"))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str:
    """Windows-1252, which Western spreadsheets write, unless another fits better."""
    matches = from_bytes(sample, cp_isolation=LEGACY)
    best = matches.best()
    western = [match for match in matches if WESTERN in match.could_be_from_charset]
    if best is None or any((w.chaos, -w.coherence) <= (best.chaos, -best.coherence) for w in western):
        return WESTERN
    return best.encoding
