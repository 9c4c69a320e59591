"""How the command line speaks: answers on standard output, everything else on standard error; its exit statuses.

    0  all went well; with --wait, the job succeeded        3  the API gave no answer, or was not ready
    1  the API refused, or a file could not be used         4  the job that was waited for did not succeed
    2  the command line is wrong, or no key is set          130, 141  interrupted; the reader of a pipe went away

It knows no command.
"""

import contextlib
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
AWAY = (502, 503, 504)
STATUSES = (
    "Exit status: 0 done; 1 refused; 2 wrong command line; 3 no answer from the API; 4 the job did not "
    "succeed; 130 interrupted."
)

out = Console()
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Wrong(click.ClickException):
    """What the caller must set or write otherwise before anything is sent."""

    exit_code = USAGE


class Group(click.Group):
    """Turns errors into one line on standard error and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(errors="backslashreplace")  # a locale without the letters of a title is no crash
        try:
            return super().invoke(ctx)
        except ApiError as error:
            refusal(error)
            ctx.exit(UNREACHED if error.code == "unreachable" or error.status in AWAY else REFUSED)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python still has to flush
            ctx.exit(PIPE_CLOSED)
        except OSError as error:
            say(f"error: {error}")
            ctx.exit(REFUSED)


def say(line: str) -> None:
    """A line for a person, never cut or wrapped."""
    err.print(line, markup=False)


def refusal(error: ApiError) -> None:
    """Each thing that is wrong, once, and the way out where it is known."""
    wrong = [f"{one['pointer'] or 'the request'}: {one['detail']}" for one in error.problem.get("errors", ())]
    first, *more = wrong or [error.detail]
    err.print(f"[red]{escape(error.code)}[/]: {escape(first)}")
    for line in more:
        say(f"  {line}")
    if error.code == "unreachable":
        say("  Start a stack on this machine with: make up. BACKLOT_URL or --url names another.")
    elif error.status == 401:
        say("  The key is that of BACKLOT_API_KEY; for the stack of this machine: . .backlot/env")


def pausing(error: ApiError, seconds: float) -> None:
    """Says that, and why, a request is about to be sent again."""
    say(f"waiting: {error.detail}; asking again in {seconds:.1f} s")


def show(value: Any) -> None:
    """JSON: for a person in colours and many lines, for a pipe in one."""
    out.print_json(json.dumps(value)) if out.is_terminal else click.echo(json.dumps(value))


def table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """A table for a person; for a pipe, fields between tabs."""
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
    """Gives what changes the line that a terminal shows while a job is waited for; Ctrl-C leaves the job alone."""
    try:
        with err.status(job_id) as status:
            yield lambda line: status.update(escape(line))
    except KeyboardInterrupt:
        say(f"{job_id} goes on. Look again: backlot wait {job_id}   Stop it: backlot cancel {job_id}")
        click.get_current_context().exit(INTERRUPTED)
