"""The verbs about what may start: pauses, parked jobs, lines that no model of the registry belongs to.

A part of Ledger, which see. It knows no registry: whoever asks says which lines.
"""

import json

from tasks import errors
from tasks.ledger import keys

MOST_PAUSES = 1000
A_FEW = 100
"""Jobs that one call moves at most, so that none blocks Redis for long."""


class Lines:
    """Verbs of operators and the keeper."""

    def pause(self, name: str, reason: str) -> None:
        """Start no more jobs of `pool/<pool>`, `model/<kind>/<model>` or `tenant/<tenant>`; those that run go on. What
        was paused before keeps its reason. Errors: Conflict where very much is paused."""
        if self._run("pause", [keys.PAUSES], [name, json.dumps(reason), MOST_PAUSES]) == 0:
            raise errors.Conflict(f"{MOST_PAUSES} pauses are in force; resume some first")

    def resume(self, name: str) -> None:
        """Start jobs of it again."""
        self._run("resume", [keys.PAUSES], [name])

    def unpark(self, tenant: str) -> int:
        """Put parked jobs of the tenant back where it has no turn in line, as many as it may start now, A_FEW a line at
        most; how many went."""
        return self._run("unpark", [keys.parked(tenant)], [tenant, self.settings.max_running_jobs, A_FEW])
