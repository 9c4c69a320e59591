"""The ledger: all verbs in one class. One method a script, of the same name.

Every verb may be called twice: the caller picks the id or the token, and a repetition gets the first answer.
"""

from tasks.ledger.amends import Amends
from tasks.ledger.attempts import Attempts
from tasks.ledger.bulk import Bulk
from tasks.ledger.duties import Duties
from tasks.ledger.epoch import Epoch
from tasks.ledger.lines import Lines
from tasks.ledger.owed import Messages
from tasks.ledger.reads import Reads
from tasks.ledger.schedules import Schedules
from tasks.ledger.usage import Usage


class Ledger(Bulk, Amends, Attempts, Duties, Lines, Epoch, Reads, Schedules, Usage, Messages):
    """The job records in Redis; errors of every verb: those of Connection."""
