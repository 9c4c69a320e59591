"""Ends its process while it is loaded, as a library that crashes does."""

import os
import signal

from tests.models import noop


class Model(noop.Model):
    @classmethod
    def load(cls, weights, device):
        os.kill(os.getpid(), signal.SIGKILL)
