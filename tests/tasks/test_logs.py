"""What a process logs: no API key, wherever it came from."""

import logging

from tasks import logs


def test_no_key_is_logged(capsys):
    """Neither of a message, nor of its arguments, nor of a traceback."""
    key, root = "bk_" + "a-B_9" * 8, logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.start("INFO")
        try:
            raise ValueError(f"/v1/jobs?key={key}")
        except ValueError:
            logging.getLogger("backlot.test").exception("GET /%s failed", key)
        shown = capsys.readouterr().err
    finally:
        root.handlers[:], root.level = before
    assert key not in shown and shown.count("bk_***") == 2 and "ValueError" in shown
