"""The table: RESULTS.md, and the same for a terminal."""

import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.faults.scenario import Row

HEAD = """# What the fault suite saw

`{command}`, {when}, {machine}; took {took:.0f} min.

Every job is accounted for from outside: the client's own list of accepted ids against the API and the bucket. *Lost*:
no final status, or one that its submitter had no reason to expect. *Twice*: it changed after its end, two attempts
succeeded, or the bucket holds outputs of two attempts after the sweep. *Extra starts*: attempts beyond the first (for
most faults they are the point). *Recovery*: from a fault to the next start of a job that ran where it struck. Settings
that are shorter than the defaults, so that the suite fits an hour: {settings}.

"""


def write(path: Path, rows: Sequence[Row], command: str, minutes: float, settings: dict) -> None:
    gib = psutil.virtual_memory().total >> 30
    machine = f"{psutil.cpu_count()} cores, {gib} GiB, {platform.system()} {platform.machine()}"
    shown = ", ".join(f"`{name}` {value}" for name, value in settings.items())
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEAD.format(command=command, when=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine, took=minutes,
                                settings=shown) + table(rows))


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| | scenario | jobs | faults | lost | twice | extra starts | recovery p50 / p99 / max, s | beside it |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        account, verdict = row.account, "" if row.passed else " **FAILED**"
        remark = " ".join(part for part in (row.failed, *account.lost[:3], *account.twice[:3], row.remark) if part)
        counts = " | ".join(f"{count:,}" for count in _counts(row))
        lines.append(f"| {row.number} | {row.title}{verdict} | {counts} | "
                     f"{recovery(account.recoveries)} | {_cell(remark)} |")
    total = (sum(column) for column in zip(*map(_counts, rows), strict=True))
    lines.append("| | **all** | " + " | ".join(f"**{value:,}**" for value in total) + " | | |")
    return "\n".join(lines) + "\n"


def _counts(row: Row) -> tuple[int, ...]:
    account = row.account
    return account.jobs, account.faults, len(account.lost), len(account.twice), account.extra_starts


def recovery(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return f"{statistics.median(seconds):.2f} / {p99:.2f} / {max(seconds):.2f}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
