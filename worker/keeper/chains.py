"""Tells jobs that wait for others how these have ended, in bounded steps. It knows no job."""

import time

from tasks.broker import Broker
from tasks.ledger import Ledger


def settle(ledger: Ledger, broker: Broker, for_s: float) -> None:
    """Tell all, or as many as `for_s` seconds allow. Errors: NotReady, LedgerFault."""
    until, more = time.monotonic() + for_s, True
    while more and time.monotonic() < until:
        more, queues = ledger.settle_chains()
        broker.ring_all(dict.fromkeys(queues))
