"""The ledger: all verbs in one class. One method a script, same name.

Every verb may be asked twice: whoever asks picks the id or the token, and a repetition gets the first answer.
"""

from tasks.ledger.attempts import Attempts
from tasks.ledger.callers import Callers
from tasks.ledger.duties import Duties
from tasks.ledger.epoch import Epoch
from tasks.ledger.lines import Lines
from tasks.ledger.looking import Looking


class Ledger(Callers, Attempts, Duties, Lines, Epoch, Looking):
    """The job records in Redis; errors of every verb: those of Connection."""
