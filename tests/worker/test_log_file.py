"""The file of a log: what it keeps of a long one, and the disk that it gives back."""

import os
import sys

import pytest

from worker import log_file
from worker.log_file import BLOCK, FIRST_BYTES, LAST_BYTES, SLACK_BYTES, LogFile, Written


@pytest.fixture
def file(tmp_path) -> LogFile:
    return LogFile(tmp_path)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_log_is_whole_up_to_its_bound(file, more):
    """Just under, at, and just over it."""
    file.write(b"a" * FIRST_BYTES + b"b" * (LAST_BYTES + more))
    written = file.read()
    assert written.left_out == max(0, more)
    assert len(written.first) + len(written.last) == FIRST_BYTES + LAST_BYTES + min(0, more)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives back the middle of a file")
def test_the_disk_of_the_middle_is_given_back_while_it_is_written(file, tmp_path):
    """Nothing of what is read changes by it."""
    for _ in range(3):
        file.write(os.urandom(4 * SLACK_BYTES))
        before = file.read()
        log_file.bound(tmp_path)
        assert os.fstat(file.file).st_blocks * 512 <= FIRST_BYTES + LAST_BYTES + 2 * BLOCK
        assert file.read() == before == log_file.read(tmp_path)


def test_who_still_has_the_old_file_writes_to_nobody(file, tmp_path):
    """A process that an attempt has left behind."""
    old = os.dup(file.file)
    file.write(b"of the first")
    file.renew()
    os.write(old, b"late")
    os.close(old)
    assert file.read() == Written(b"") and log_file.read(tmp_path) is None
    file.write(b"of the second")
    assert log_file.read(tmp_path) == Written(b"of the second")


def test_a_folder_that_cannot_be_written_to_costs_the_lines_alone(file, tmp_path):
    """No new file can be made: what is written is dropped, and the old file is not gone on with."""
    file.write(b"of the first")
    file._path = tmp_path / "gone" / "log"
    file.renew()
    file.write(b"of the second")
    assert file.size() == 0
