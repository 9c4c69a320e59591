"""The command line's output and exit statuses: answers on standard output, all else on standard error.

    0  all went well; with --wait, the job succeeded        3  the API gave no answer, or was not ready
    1  the API refused, or a file could not be used         4  the job that was waited for did not succeed
    2  the command line is wrong, or no key is set          130, 141  interrupted; the reader of a pipe went away

Knows no command.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.client import ApiError

REFUSED = 1
USAGE = 2
UNREACHED = 3
NOT_SUCCEEDED = 4
INTERRUPTED = 128 + 2
PIPE_CLOSED = 128 + 13
UNAVAILABLE = (502, 503, 504)
"""HTTP statuses of an API that is not ready, or of a proxy that does not reach it."""
STATUSES = (
    "Exit status: 0 done; 1 refused; 2 wrong command line; 3 no answer from the API; 4 the job did not "
    "succeed; 130 interrupted."
)

out = Console()
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Wrong(click.ClickException):
    """An error in the environment or the arguments, found before anything is sent."""

    exit_code = USAGE


class Group(click.Group):
    """The command group that turns an error into one line on standard error and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a locale may lack the letters of a title
        try:
            return super().invoke(ctx)
        except ApiError as error:
            refusal(error)
            ctx.exit(UNREACHED if error.code == "unreachable" or error.status in UNAVAILABLE else REFUSED)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at exit
            ctx.exit(PIPE_CLOSED)
        except OSError as error:
            say(f"error: {error}")
            ctx.exit(REFUSED)


def say(line: str) -> None:
    """Prints a line for a person on standard error, neither cut nor wrapped."""
    err.print(line, markup=False)


def refusal(error: ApiError) -> None:
    """Prints every fault that the API found, and the remedy where one is known."""
    wrong = [f"{one['pointer'] or 'the request'}: {one['detail']}" for one in error.problem.get("errors", ())]
    first, *more = wrong or [error.detail]
    err.print(f"[red]{escape(error.code)}[/]: {escape(first)}")
    for line in more:
        say(f"  {line}")
    if error.code == "unreachable":
        say("  Start a stack on this machine with: make up. BACKLOT_URL or --url names another.")
    elif error.status == 401:
        say("  The key is that of BACKLOT_API_KEY, for operators BACKLOT_OPERATOR_KEY; on this machine: . .backlot/env")


def say_retry(error: ApiError, seconds: float) -> None:
    """Prints the reason and the delay of a retry."""
    say(f"waiting: {error.detail}; asking again in {seconds:.1f} s")


def show(value: Any) -> None:
    """Prints JSON: in colours on a terminal, on one line into a pipe."""
    out.print_json(json.dumps(value)) if out.is_terminal else click.echo(json.dumps(value))


def table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Prints a table on a terminal, tab-separated rows into a pipe."""
    cells = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    if not out.is_terminal:
        for row in cells:
            click.echo("\t".join(" ".join(cell.split()) for cell in row))
        return
    shown = Table(box=None)
    for name in names:
        shown.add_column(name, no_wrap=name in ("id", "kind"))
    for row in cells:
        shown.add_row(*map(escape, row))
    out.print(shown)


@contextlib.contextmanager
def watching(job_id: str) -> Iterator[Callable[[str], None]]:
    """Shows a status line while a job is waited for; gives the function that updates it. Ctrl-C ends the wait and
    leaves the job running."""
    try:
        with err.status(job_id) as status:
            yield lambda line: status.update(escape(line))
    except KeyboardInterrupt:
        say(f"{job_id} goes on. Look again: backlot wait {job_id}   Stop it: backlot cancel {job_id}")
        click.get_current_context().exit(INTERRUPTED)
