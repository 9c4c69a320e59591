"""The lines of a log that are told while it is written."""

import pytest

from tests.stack import PASSWORD
from worker.live_log import LONG, PIECE_BYTES, READ_BYTES, LiveLog
from worker.log_file import FIRST_BYTES, LogFile
from worker.log_filter import LogFilter


@pytest.fixture
def file(tmp_path) -> LogFile:
    return LogFile(tmp_path)


@pytest.fixture
def live(file, settings) -> LiveLog:
    return LiveLog(file, LogFilter(settings))


def told(live) -> str:
    """All that it has to tell, piece by piece."""
    whole = b""
    while (piece := live.piece())[0]:
        text, at = piece
        assert at == len(whole) and len(text.encode()) <= PIECE_BYTES
        whole += text.encode()
        live.sent(text)
    return whole.decode()


def test_whole_lines_are_told_once(file, live):
    """A line that is not whole waits for its end; a piece that was not sent is told again."""
    file.write("one é\ntw".encode())
    assert live.piece() == live.piece() == ("one é\n", 0)
    assert told(live) == "one é\n"
    file.write(b"o\n")
    assert live.piece() == ("two\n", 7)


def test_no_secret_is_told_in_halves(file, live):
    half = len(PASSWORD) // 2
    file.write(f"a {PASSWORD[:half]}".encode())
    assert told(live) == ""
    file.write(f"{PASSWORD[half:]}\n".encode())
    assert told(live) == "a ***\n"


def test_a_line_that_is_too_long_is_left_out_to_its_end(file, live):
    file.write(b"before\n" + b"x" * (3 * READ_BYTES) + b"\nbehind\n")
    assert told(live) == f"before\n{LONG}behind\n"


@pytest.mark.parametrize("over", [0, 10])
def test_no_more_than_what_is_kept_of_the_beginning_is_told(file, live, over):
    """Behind it the file may have given its disk back."""
    lines = b"0123456789abcde\n" * ((FIRST_BYTES + over * 16) // 16)
    file.write(lines)
    assert told(live).encode() == lines[:FIRST_BYTES]


def test_long_letters_are_not_divided(file, live):
    file.write(("é€" * 5000 + "\n").encode()[: READ_BYTES - 10] + b"\n")
    assert "\N{REPLACEMENT CHARACTER}" not in told(live)[:-2]
