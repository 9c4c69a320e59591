"""The outermost elements of containers: where each begins and what it is called, then where the last one should end.

It reads heads alone, and knows neither sound nor time. A walk stops without an end where the bytes are no element, or
where the last one is as long as the file.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

Walk = Iterator[tuple[int, bytes]]
"""Offset and name of each element; (end, b"") last."""
EBML = b"\x1a\x45\xdf\xa3"
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
CHILDREN = frozenset(
    map(bytes.fromhex, ("114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1941a469", "1043a770", "1254c367"))
) | frozenset(map(bytes.fromhex, ("ec", "bf", "e7", "a3", "a0", "ab", "a7", "5854", "af")))
"""Names of what a Matroska segment and its clusters hold (RFC 9559, section 5.1)."""
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def boxes(file: BinaryIO, size: int) -> Walk:
    """ISO/IEC 14496-12, section 4.2; of size 1 the size has 8 bytes more, of size 0 it goes to the end."""
    at = 0
    while at < size:
        head = _read(file, at, 16)
        name, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or (at > 0 and not name.isalnum()):
            return
        yield at, name
        at += length
    yield at, b""


def ebml(file: BinaryIO, size: int, enter: frozenset[bytes] = frozenset()) -> Walk:
    """RFC 8794; an element of unknown size (all ones) is entered, as are segment and clusters of live streams, and so
    are those of the names in `enter`."""
    at = 0
    while at < size:
        head = _read(file, at, 12)
        id_length = 9 - head[0].bit_length()
        first = head[id_length] if id_length <= 4 and id_length < len(head) else 0
        if first == 0:
            return
        length = 9 - first.bit_length()
        stated = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << 7 * length) - 1)
        yield at, head[:id_length]
        at += id_length + length
        if stated != (1 << 7 * length) - 1 and head[:id_length] not in enter:
            at += stated
    yield at, b""


def objects(file: BinaryIO, size: int) -> Walk:
    """ASF: a name of 16 bytes and a size of 8; 0 is that of a broadcast."""
    at = 0
    while at + 24 <= size:
        head = _read(file, at, 24)
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            return
        yield at, head[:16]
        at += length
    yield at, b""


def tags(file: BinaryIO, size: int) -> Walk:
    """FLV: a header of 13 bytes; of each tag 11 bytes, the second to fourth its size, then its body, 4 bytes more."""
    at = 0
    while at < size:
        head = _read(file, at, 4)
        if head.startswith(b"FLV"):
            yield at, b"FLV"
            at += 13
        elif head[0] in (8, 9, 18):
            yield at, head[:1]
            at += 11 + int.from_bytes(head[1:], "big") + 4
        else:
            return
    yield at, b""


def forms(file: BinaryIO, size: int) -> Walk:
    """AIFF: one chunk FORM."""
    at = 0
    while at < size:
        head = _read(file, at, 8)
        if not head.startswith(b"FORM"):
            return
        yield at, b"FORM"
        length = int.from_bytes(head[4:], "big")
        at += 8 + length + length % 2
        at = min(at, size) if at == size + 1 else at  # the last need not be padded
    yield at, b""


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


WALKS: dict[str, tuple[Callable[[BinaryIO, int], Walk], bytes]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": (boxes, b"ftyp"),
    "matroska,webm": (ebml, EBML),
    "asf": (objects, ASF),
    "flv": (tags, b"FLV"),
    "aiff": (forms, b"FORM"),
}
"""By FFmpeg's name of the container: its walk, and the name of the element that begins a file."""
