"""python -m worker POOL|keeper: one worker of a pool, or the keeper. Settings come from the environment."""

import logging
import sys
from typing import TYPE_CHECKING

import click

from tasks import logs
from tasks.models_file import Misconfigured, like
from tasks.settings import Settings

if TYPE_CHECKING:
    from worker.keeper.keeper import Keeper
    from worker.parent import Parent

log = logging.getLogger(__name__)


@click.command()
@click.argument("role", metavar="POOL|keeper")
def main(role: str) -> None:
    """Run one worker of a pool of BACKLOT_POOLS (cpu, gpu), or the keeper, until SIGTERM."""
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
    if role not in settings.pools:
        raise Misconfigured(
            f"there is no pool {role!r}{like(role, settings.pools)}; BACKLOT_POOLS has {', '.join(settings.pools)}"
        )
    from worker.parent import Parent

    return Parent(settings, role)


if __name__ == "__main__":
    main()
