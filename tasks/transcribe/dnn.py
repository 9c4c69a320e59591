"""English letters, digits and commands by a feed-forward network over spliced frames, under CTC.

Waibel et al., "Phoneme recognition using time-delay neural networks" (1989), for the network, Dnn in networks.py;
Graves et al. (2006) for CTC. It was trained by training/ctc.py; what its weights have learned, their card tells.
"""

from tasks.transcribe.ctc_listener import CtcListener


class Model(CtcListener):
    """See ctc_listener.py."""

    name = "dnn"
