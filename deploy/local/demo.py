"""`make demo`: start the stack, run one job of each kind, show what came of it and how to do it by hand.

PyTorch is by far the largest package, so it is installed beside the rest: the jobs that do without it
run meanwhile, the others follow. Workers import it with their first job that needs it.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from api.client import ApiError, Client, Job
from deploy.local import install, stack
from deploy.local.samples import CURL, SAMPLES, Sample, summary
from deploy.local.state import ENV, LOGS

LOOK_S = 0.3
ID_WIDTH = 30  # an id must be seen whole, to be copied


@dataclass
class Row:
    """A sample and its job, once there is one; `problem` where it could not be submitted."""

    sample: Sample
    job: Job | None = None
    problem: str | None = None

    @property
    def done(self) -> bool:
        return self.problem is not None or bool(self.job and self.job["done"])

    @property
    def succeeded(self) -> bool:
        return bool(self.job and self.job["status"] == "succeeded")


class Torch:
    """The installation of PyTorch, in a process of its own that outlives an interrupted demo."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._running = None
        if not install.present("torch"):
            self._running = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.install", "torch"],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @property
    def ready(self) -> bool:
        return self._running is None or self._running.poll() == 0

    @property
    def failed(self) -> bool:
        return self._running is not None and self._running.poll() not in (None, 0)

    def __str__(self) -> str:
        if self.failed:
            return f"PyTorch could not be installed: see {LOGS}/install-torch.log"
        return f"waits for PyTorch, which is being installed ({time.monotonic() - self._started:.0f} s)"


def main() -> None:
    """Exits with 1 where a job did not succeed."""
    torch = Torch()
    started = stack.up()
    client = Client(started.url, started.api_key)
    stack.console.print(f"Backlot is up at {started.url}. One job of each kind:\n")
    rows = [Row(sample) for sample in SAMPLES]
    try:
        _run(client, rows, torch)
    except KeyboardInterrupt:
        stack.console.print("\nInterrupted; the jobs and the stack go on.")
    stack.console.print(_by_hand(rows), markup=False)
    if not all(row.succeeded for row in rows):
        raise SystemExit(1)


def _run(client: Client, rows: list[Row], torch: Torch) -> None:
    """Submit each as soon as it can run and look at all until they are done, showing them as they change."""
    spinner = Spinner("dots")
    with Live(console=stack.console, refresh_per_second=8) as live:
        while not all(row.done for row in rows):
            for row in rows:
                _advance(client, row, torch)
            live.update(Group(_table(rows, torch), spinner))
            time.sleep(LOOK_S)
        live.update(_table(rows, torch))


def _advance(client: Client, row: Row, torch: Torch) -> None:
    try:
        if row.done:
            return
        if row.job:
            row.job = client.get(row.job["id"])
        elif row.sample.torch and torch.failed:
            row.problem = str(torch)
        elif torch.ready or not row.sample.torch:
            row.job = client.submit(row.sample.kind, row.sample.inputs, params=row.sample.params or None)
    except ApiError as error:
        if not error.retryable:
            row.problem = str(error)


def _table(rows: list[Row], torch: Torch) -> Table:
    table = Table(padding=(0, 2, 1, 0), box=None)
    table.add_column("job", no_wrap=True, min_width=ID_WIDTH)
    for heading in ("pool", "queued", "loaded", "ran", "result and outputs"):
        table.add_column(heading)
    for row in rows:
        if row.job is None:
            news = Text(row.problem or str(torch), style="dim")
            table.add_row(Text(row.sample.kind, style="bold"), "", "", "", "", news)
        else:
            job, metrics = row.job, row.job["metrics"] or {}
            name = Text.assemble((f"{job['kind']}/{job['model']}", "bold"), "\n", (job["id"], "dim"))
            times = [_seconds(metrics.get(clock)) for clock in ("queued_s", "load_s", "run_s")]
            table.add_row(name, job["pool"], *times, _news(job))
    return table


def _news(job: Job) -> Text:
    """What there is to say of a job now: its result and outputs, its error, or how far it is."""
    if job["status"] == "succeeded":
        names = ", ".join(output["name"] for output in job["outputs"])
        return Text.assemble((summary(job["kind"], job["result"]), "green"), "\n", (names, "dim"))
    if job["error"]:
        return Text(f"{job['status']}: {job['error']['detail']} ({job['error']['code']})", style="red")
    percent = f"{job['progress']:.0%}" if job["progress"] else ""
    return Text(" ".join(filter(None, [job["phase"] or job["status"], percent, job["message"]])), style="yellow")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _by_hand(rows: list[Row]) -> str:
    """Shell lines that do the same, then look at a job and fetch an output of one."""
    lines = ["\nThe same by hand:\n", f". {ENV}", *(row.sample.curl() for row in rows)]
    job = next((row.job for row in rows if row.succeeded), None)
    if job:
        lines.append(f'{CURL} -H "Prefer: wait=30" "$BACKLOT_URL{job["links"]["self"]}"')
        lines += [f'{CURL} -L "$BACKLOT_URL{output["url"]}"' for output in job["outputs"][1:2]]
    return "\n".join([*lines, "\nThe stack goes on running. Look: make status. Stop: make down (jobs and files stay)."])
