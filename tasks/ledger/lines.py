"""The verbs about what may start: pauses, parked jobs, lines that no model of the registry belongs to.

A part of Ledger, which see. It knows no registry: whoever asks says which lines.
"""

import json

from tasks import errors
from tasks.ledger import keys
from tasks.ledger.connection import Connection

MOST_PAUSES = 1000
A_FEW = 100
"""Jobs that one call moves at most, so that none blocks Redis for long."""


class Lines(Connection):
    """Verbs of operators and the keeper."""

    def pause(self, name: str, reason: str) -> None:
        """Start no more jobs of `pool/<pool>`, `model/<kind>/<model>` or `tenant/<tenant>`; those that run go on. What
        was paused before keeps its reason. Errors: Conflict where very much is paused."""
        if self._run("pause", [keys.PAUSES], [name, json.dumps(reason), MOST_PAUSES]) == 0:
            raise errors.Conflict(f"{MOST_PAUSES} pauses are in force; resume some first")

    def resume(self, name: str) -> None:
        """Start jobs of it again."""
        self._run("resume", [keys.PAUSES], [name])

    def move(self, line: str, to: str) -> int:
        """Put A_FEW waiting jobs of one line into another, that of their model's pool; how many."""
        return self._run("move", [keys.line(line)], [to, A_FEW])

    def orphan(self, line: str, unknown: errors.BacklotError | None) -> int:
        """Note that nobody knows the model of a line: its jobs wait BACKLOT_UNKNOWN_MODEL_S, then A_FEW a call fail
        with this error; how many did. Without an error: it is known again."""
        wait = "" if unknown is None else round(self.settings.unknown_model_s * 1000)
        error = json.dumps(unknown.as_dict()) if unknown else ""
        return self._run("orphan", [keys.line(line), keys.ORPHANS], [line, wait, error, A_FEW])

    def unpark(self, tenant: str) -> int:
        """Put parked jobs of the tenant back where it has no turn in line, as many as it may start now, A_FEW a line at
        most; how many went."""
        return self._run("unpark", [keys.parked(tenant)], [tenant, self.settings.max_running_jobs, A_FEW])
