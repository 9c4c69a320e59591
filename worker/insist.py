"""Retries a verb of the ledger until Redis answers: finished work is not thrown away because Redis is away.

It knows nothing of the verb.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from tasks.errors import LedgerFault, NotReady

T = TypeVar("T")
RETRY_S = 0.5
"""Seconds between two calls."""
FAULTS_MAX = 3
"""Faults of the script after which the verb is given up."""


def insist(verb: Callable[[], T]) -> T:
    """The verb's answer, retried while Redis is away. Errors: LedgerFault after FAULTS_MAX faults."""
    faults = 0
    while True:
        try:
            return verb()
        except NotReady:
            pass
        except LedgerFault:
            faults += 1
            if faults >= FAULTS_MAX:
                raise
        threading.Event().wait(RETRY_S)
