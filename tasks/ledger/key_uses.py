"""When each API key was last used, to a minute: which are still needed, and which may go."""

from datetime import datetime

from tasks.job import moment
from tasks.ledger import Ledger, keys
from tasks.ledger.faults import away


def read(ledger: Ledger) -> dict[str, datetime]:
    """By key id, of all that were used since Redis began. Errors: NotReady."""
    with away():
        seen = ledger.redis.hgetall(keys.KEY_USES)
    return {key_id: moment(float(ms)) for key_id, ms in seen.items()}
