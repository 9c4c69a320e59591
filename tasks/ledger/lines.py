"""The verbs about jobs that may not start: pauses, parked jobs, and lines whose model has no worker. One part of
`Ledger` (verbs.py).

It knows no registry: the keeper says which lines have no worker.
"""

import json

from tasks import errors
from tasks.ledger import keys
from tasks.ledger.connection import Connection, milliseconds
from tasks.ledger.shapes import JOBS_A_CALL

PAUSES_MAX = 1000


class Lines(Connection):
    """Verbs of operators and the keeper."""

    def pause(self, name: str, reason: str) -> None:
        """Starts no more jobs of `pool/<pool>`, `model/<kind>/<model>` or `tenant/<tenant>`; running ones go on.

        A second pause of one name keeps the first one's reason. Errors: Conflict where PAUSES_MAX are in force.
        """
        if self._run("pause", [keys.PAUSES], [name, json.dumps(reason), PAUSES_MAX], int) == 0:
            raise errors.Conflict(f"{PAUSES_MAX} pauses are in force; resume some first")

    def resume(self, name: str) -> None:
        """Ends a pause."""
        self._run("resume", [keys.PAUSES], [name], int)

    def move(self, line: str, to: str) -> int:
        """Moves up to JOBS_A_CALL waiting jobs to another line, that of their model's pool now; how many moved."""
        return self._run("move", [keys.line(line)], [to, JOBS_A_CALL], int)

    def orphan(self, line: str, unknown: errors.BacklotError | None) -> int:
        """Records that no worker knows the model of a line; how many of its jobs failed.

        Its jobs wait BACKLOT_UNKNOWN_MODEL_S, then up to JOBS_A_CALL a call fail with this error. None: the model is
        known again.
        """
        wait = "" if unknown is None else milliseconds(self.settings.unknown_model_s)
        error = json.dumps(unknown.as_dict()) if unknown else ""
        return self._run("orphan", [keys.line(line), keys.ORPHANS], [line, wait, error, JOBS_A_CALL], int)

    def unpark(self, tenant: str) -> int:
        """Puts parked jobs of the tenant back into lines in which it has none, as many as it may start now, up to
        JOBS_A_CALL a line; how many went."""
        return self._run("unpark", [keys.parked(tenant)], [tenant, self.settings.max_running_jobs, JOBS_A_CALL], int)
