"""The table: RESULTS.md, and the same for a terminal."""

import platform
import re
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.faults.scenario import Row

NUMBERED = re.compile(r"\| *(\d+)[a-z]* \|")
HEAD = """# What the fault suite saw

Last run: `{command}`, {when}, {machine}, {took:.0f} min. Scenarios that it did not name keep their row of before.

Every job is accounted for from outside: the client's own list of accepted ids against the API and the bucket. *Lost*:
no final status, or one that its submitter had no reason to expect. *Twice*: it changed after its end, two attempts
succeeded, or the bucket holds outputs of two attempts after the sweep. *Extra starts*: attempts beyond the first (for
most faults they are the point). *Recovery*: from a fault to the next start of a job that ran where it struck. Settings
that are shorter than the defaults, so that the suite fits an hour: {settings}.

"""


def write(path: Path, rows: Sequence[Row], command: str, minutes: float, settings: dict) -> None:
    """Rows of scenarios that did not run now stay as they were."""
    gib = psutil.virtual_memory().total >> 30
    machine = f"{psutil.cpu_count()} cores, {gib} GiB, {platform.system()} {platform.machine()}"
    shown = ", ".join(f"`{name}` {value}" for name, value in settings.items())
    before = path.read_text().splitlines() if path.exists() else []
    lines = {_number(line): line for line in (*before, *map(_line, rows)) if NUMBERED.match(line)}
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        HEAD.format(
            command=command, when=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine, took=minutes, settings=shown
        )
        + _table(list(lines.values()))
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown, of these rows alone."""
    return _table([_line(row) for row in rows])


def _table(lines: list[str]) -> str:
    lines = sorted(lines, key=lambda line: (int(NUMBERED.match(line)[1]), _number(line)))
    counts = [[int(cell.replace(",", "")) for cell in line.split("|")[3:8]] for line in lines]
    total = " | ".join(f"**{sum(column):,}**" for column in zip(*counts, strict=True))
    return (
        "\n".join(
            [
                "| | scenario | jobs | faults | lost | twice | extra starts "
                "| recovery p50 / p99 / max, s | beside it |",
                "|---|---|---|---|---|---|---|---|---|",
                *lines,
                f"| | **all** | {total} | | |",
            ]
        )
        + "\n"
    )


def _line(row: Row) -> str:
    account, verdict = row.account, "" if row.passed else " **FAILED**"
    remark = " ".join(part for part in (row.failed, *account.lost[:3], *account.twice[:3], row.remark) if part)
    counts = " | ".join(
        f"{count:,}"
        for count in (account.jobs, account.faults, len(account.lost), len(account.twice), account.extra_starts)
    )
    return (
        f"| {row.number} | {row.title}{verdict} | {counts} | {recovery(account.recoveries)} | "
        f"{remark.replace('|', '/').replace(chr(10), ' ')} |"
    )


def _number(line: str) -> str:
    return line.split("|")[1].strip()


def recovery(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return f"{statistics.median(seconds):.2f} / {p99:.2f} / {max(seconds):.2f}"
