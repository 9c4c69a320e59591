"""The last use of each API key, to a minute, so that an operator sees which are still needed."""

from datetime import datetime

from tasks.job import moment
from tasks.ledger import Ledger, keys
from tasks.ledger.faults import away


def read(ledger: Ledger) -> dict[str, datetime]:
    """The last use by key id, of all keys used since Redis began. Errors: NotReady."""
    with away():
        seen = ledger.redis.hgetall(keys.KEY_USES)
    return {key_id: moment(float(ms)) for key_id, ms in seen.items()}
