"""The text so far of one attempt, and the part of it that the ledger has not got. It knows no ledger and no job."""

from tasks.ledger.shapes import TEXT_MAX_BYTES
from tasks.text import LONE_SURROGATE

PIECE_MAX = 1000
"""Characters of one piece."""


class SoFar:
    """A text that grows. A model that begins again (a batch that was split) tells its beginning twice, which adds
    nothing; one that then writes something else tells no more."""

    def __init__(self) -> None:
        self._text = self._sent = ""
        self._bytes = 0

    def tell(self, text: str) -> None:
        """The text from its beginning; any thread may tell it."""
        self._text = text[: TEXT_MAX_BYTES + 1]

    def piece(self) -> tuple[str, int]:
        """The next piece, '' where there is nothing new, and the bytes before it."""
        if len(self._text) <= len(self._sent) or self._bytes > TEXT_MAX_BYTES:
            return "", 0
        text = LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", self._text)
        if not text.startswith(self._sent):
            return "", 0
        return text[len(self._sent) : len(self._sent) + PIECE_MAX], self._bytes

    def sent(self, piece: str) -> None:
        """Notes that the ledger has been told this piece."""
        self._sent += piece
        self._bytes += len(piece.encode())
