"""The kit for a deployment that the suite did not start: it submits, has the operator's commands strike, accounts."""

import json
import random
import subprocess
import threading
from collections.abc import Callable, Sequence

from tests.faults.accounts import Books
from tests.faults.scenario import Row

AT_ONCE = 32


def run(
    url: str,
    key: str,
    body: str,
    jobs: int,
    strikes: Sequence[str],
    faults: int,
    every_s: float,
    say: Callable[[str], None],
) -> Row:
    """So many jobs with that body, while the commands strike; ends when all have ended."""
    books, over = Books(url.rstrip("/"), key), threading.Event()
    row = Row("0", f"{url}: {jobs:,} jobs")
    striking = threading.Thread(target=_strike, args=(books, strikes, faults, every_s, over, say), daemon=True)
    striking.start()
    request = json.loads(body)
    while len(books.entries) < jobs:
        books.submit_all([request] * min(AT_ONCE, jobs - len(books.entries)))
        books.wait(deadline_s=3600)
        say(f"{len(books.entries):,} of {jobs:,} jobs accepted")
    if strikes:
        striking.join()
    over.set()
    row.account = books.account(deadline_s=3600)
    return row


def _strike(
    books: Books, strikes: Sequence[str], faults: int, every_s: float, over: threading.Event, say: Callable[[str], None]
) -> None:
    for _ in range(faults):
        if over.wait(every_s):
            return
        command = random.choice(strikes)
        status = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, timeout=600).returncode
        say(f"struck: {command} (exit status {status})")
        books.struck(command)
