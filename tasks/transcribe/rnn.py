"""English letters, digits and commands by a bidirectional recurrent network under CTC.

Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification" (2006). The network is Rnn in
networks.py; it was trained by training/ctc.py; what its weights have learned, their card tells.
"""

from tasks.transcribe.ctc_listener import CtcListener


class Model(CtcListener):
    """See ctc_listener.py."""

    name = "rnn"
