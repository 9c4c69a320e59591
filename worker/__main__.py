"""python -m worker cpu|gpu|keeper: one worker of a pool, or the keeper. Settings come from the environment."""

import logging
import sys

import click

from tasks.settings import Settings


@click.command()
@click.argument("role", type=click.Choice(["cpu", "gpu", "keeper"]))
def main(role: str) -> None:
    """Run one worker of the pool cpu or gpu, or the keeper, until SIGTERM."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if role == "keeper":
        from worker.keeper import Keeper

        sys.exit(Keeper(settings).run())
    from worker.parent import Parent

    sys.exit(Parent(settings, role).run())


if __name__ == "__main__":
    main()
