"""`python -m deploy.local up|down|status|logs|demo`: the commands behind make's targets."""

import os
import sys

import click

from deploy.local import stack
from deploy.local.state import ENV, ROOT
from tasks.models_file import Misconfigured


@click.group(help="The whole of Backlot on this machine, from wheels: no root, no Docker.")
def main() -> None:
    os.chdir(ROOT)
    os.umask(0o077)


@main.command(help="Start the stack and wait until it is ready.")
def up() -> None:
    started = stack.up()
    stack.console.print(f"Backlot is up at {started.url}. Keys and settings: . {ENV}   Stop it with: make down")


@main.command(help="Stop the stack; its state stays.")
def down() -> None:
    stack.down()
    stack.console.print("Backlot is down. Jobs and files are kept in .backlot; make up goes on with them.")


@main.command(help="What runs, and where it listens.")
def status() -> None:
    sys.exit(0 if stack.status() else 1)


@main.command(help="Follow all logs.")
def logs() -> None:
    stack.logs()


@main.command(help="Start the stack and run one job of each kind.")
def demo() -> None:
    from deploy.local import demo  # needs the API's client, the other commands do not

    demo.main()


if __name__ == "__main__":
    try:
        main()
    except Misconfigured as error:
        sys.exit(f"{error}\nNothing was started or stopped.")
    except (stack.NotUp, RuntimeError) as error:
        sys.exit(str(error))
