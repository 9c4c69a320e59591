"""python -m worker cpu|gpu|keeper: one worker of a pool, or the keeper. Settings come from the environment."""

import sys

import click

from tasks import logs
from tasks.settings import Settings


@click.command()
@click.argument("role", type=click.Choice(["cpu", "gpu", "keeper"]))
def main(role: str) -> None:
    """Run one worker of the pool cpu or gpu, or the keeper, until SIGTERM."""
    settings = Settings()
    logs.start(settings.log_level)
    if role == "keeper":
        from worker.keeper import Keeper

        sys.exit(Keeper(settings).run())
    from worker.parent import Parent

    sys.exit(Parent(settings, role).run())


if __name__ == "__main__":
    main()
