"""The lines of a log while it is written, and the part of them that the ledger has not got. It knows no ledger.

It tells whole lines alone, as half a secret would not be known for one, and of the part that is kept of the beginning.
"""

from worker.log_file import FIRST_BYTES, LogFile
from worker.log_filter import LogFilter

PIECE_BYTES = 4096
"""Bytes of UTF-8 of one piece."""
READ_BYTES = 16 * 1024
"""Bytes that are read at once; a line that is longer is left out."""
LONG = "[a line of more than 16 KiB]\n"


class LiveLog:
    """`file` and `log_filter`: of the attempt, while it writes."""

    def __init__(self, file: LogFile, log_filter: LogFilter) -> None:
        self._file, self._filter = file, log_filter
        self._read = self._sent_bytes = 0
        self._ready, self._in_long_line = "", False

    def piece(self) -> tuple[str, int]:
        """The next piece, '' where there is nothing new, and the bytes before it. Errors: OSError."""
        while not self._ready and self._fill():
            pass
        return self._ready.encode()[:PIECE_BYTES].decode(errors="ignore"), self._sent_bytes

    def sent(self, piece: str) -> None:
        """Notes that the ledger has been told this piece."""
        self._ready = self._ready[len(piece) :]
        self._sent_bytes += len(piece.encode())

    def _fill(self) -> bool:
        """Reads the next whole lines. Returns True where more may follow at once."""
        data = self._file.part(self._read, min(READ_BYTES, FIRST_BYTES - self._read))
        end = data.rfind(b"\n") + 1
        if not end and len(data) < READ_BYTES:
            return False
        begin = 0
        if self._in_long_line:
            begin = data.find(b"\n") + 1 or len(data)
        self._in_long_line = not end
        self._read += end or len(data)
        self._ready = self._filter.text(data[begin:end]) if end else LONG if not begin else ""
        return True
