"""The learning rate of the captioners' trainings, as a share of its peak. Knows nothing of any network."""

import math

WARM_UP = 0.06  # of all steps
LAST = 1e-3


def one_cycle(number: int, steps: int) -> float:
    """Up in a line, down in a half cosine. Depends on the step alone, so that a resumed training goes on."""
    done = number / steps
    if done < WARM_UP:
        return max(done, 1 / steps) / WARM_UP
    return max(0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))), LAST)
