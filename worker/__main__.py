"""python -m worker cpu|gpu|keeper: one worker of a pool, or the keeper. Settings come from the environment."""

import logging
import sys
from typing import TYPE_CHECKING

import click

from tasks import logs
from tasks.models_file import Misconfigured
from tasks.settings import Settings

if TYPE_CHECKING:
    from worker.keeper.keeper import Keeper
    from worker.parent import Parent

log = logging.getLogger(__name__)


@click.command()
@click.argument("role", type=click.Choice(["cpu", "gpu", "keeper"]))
def main(role: str) -> None:
    """Run one worker of the pool cpu or gpu, or the keeper, until SIGTERM."""
    try:
        settings = Settings.of_environment()
        logs.start(settings.log_level)
        for line in Settings.misspelt():
            log.warning("%s", line)
        process = _made(settings, role)
    except Misconfigured as error:
        sys.exit(str(error))
    sys.exit(process.run())


def _made(settings: Settings, role: str) -> "Keeper | Parent":
    """Imports one of them only: the keeper needs boto3, which the parent does without."""
    if role == "keeper":
        from worker.keeper.keeper import Keeper

        return Keeper(settings)
    from worker.parent import Parent

    return Parent(settings, role)


if __name__ == "__main__":
    main()
