"""Word HMMs found from recordings of the word: Baum-Welch, all recordings of a word side by side.

Rabiner (1989), sections III.C and IV.A, in his letters (see word_models.py): one iteration takes (A, c, mu, U) to those
under which the recordings are no less likely. Everything is in logarithms, where he scales (V.A). A recording begins in
the first state and ends in the last. Knows numbers; no sound, no words.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from tasks.transcribe.word_models import WordHmm

LEAST_VARIANCE = 1e-2
LEAST_COUNT = 1e-3  # frames; a mixture that fewer belong to stays as it is


def begun(recordings: Sequence[np.ndarray], states: int, mixtures: int) -> WordHmm:
    """Before the first iteration: each recording (frames, D) cut into equal parts, one a state; each part clustered."""
    means, variances, weights = [], [], []
    for state in range(states):
        part = np.vstack([np.array_split(one, states)[state] for one in recordings])
        found = KMeans(mixtures, n_init=1, random_state=state).fit(part)
        means.append(found.cluster_centers_)
        weights.append(np.bincount(found.labels_, minlength=mixtures) / len(part))
        variances.append([part[found.labels_ == one].var(axis=0) + LEAST_VARIANCE for one in range(mixtures)])
    go = min(0.9, states / float(np.mean([len(one) for one in recordings])))
    transitions = (1 - go) * np.eye(states) + go * np.eye(states, k=1)
    transitions[-1, -1] = 1
    return WordHmm(transitions, np.array(weights), np.array(means), np.array(variances))


def iteration(model: WordHmm, recordings: Sequence[np.ndarray]) -> tuple[WordHmm, float]:
    """The next model, and ln p of all recordings under this one. Each has at least as many frames as states."""
    lengths = np.array([len(one) for one in recordings])
    frames = np.vstack(recordings)
    inside = np.arange(lengths.max())[None, :] < lengths[:, None]  # (recordings, longest): what is no padding
    each = model.log_mixtures(frames)  # (all frames, S, M)
    state = np.logaddexp.reduce(each, axis=2)
    padded = np.zeros((*inside.shape, state.shape[1]))
    padded[inside] = state
    gamma, xi, log_p = _expected(model, padded, lengths)
    share = gamma[inside][:, :, None] * np.exp(each - state[:, :, None])  # of each frame in each mixture
    return _maximised(model, frames, share, xi), log_p


def _expected(model: WordHmm, likelihood: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """gamma (recordings, longest, S), p of each state at each frame; xi (S, S), moves expected; ln p of it all."""
    with np.errstate(divide="ignore"):
        moves = np.log(model.transitions)
    count, longest, states = likelihood.shape
    alpha = np.full(likelihood.shape, -np.inf)
    alpha[:, 0, 0] = likelihood[:, 0, 0]
    for t in range(1, longest):
        alpha[:, t] = np.logaddexp.reduce(alpha[:, t - 1, :, None] + moves, axis=1) + likelihood[:, t]
    log_p = alpha[np.arange(count), lengths - 1, -1]
    beta = np.full(likelihood.shape, -np.inf)
    xi = np.zeros((states, states))
    for t in range(longest - 1, -1, -1):
        if t + 1 < longest:
            ahead = moves + (likelihood[:, t + 1] + beta[:, t + 1])[:, None, :]  # (recordings, S, S)
            beta[:, t] = np.logaddexp.reduce(ahead, axis=2)
            xi += np.exp(alpha[:, t, :, None] + ahead - log_p[:, None, None])[lengths > t + 1].sum(axis=0)
        ends = lengths == t + 1
        beta[ends, t] = np.where(np.arange(states) == states - 1, 0.0, -np.inf)
    return np.exp(alpha + beta - log_p[:, None, None]), xi, float(log_p.sum())


def _maximised(model: WordHmm, frames: np.ndarray, share: np.ndarray, xi: np.ndarray) -> WordHmm:
    count = share.sum(axis=0)  # (S, M)
    flat, safe = share.reshape(len(frames), -1), np.maximum(count, LEAST_COUNT)[..., None]
    means = (flat.T @ frames).reshape(model.means.shape) / safe
    variances = np.maximum((flat.T @ frames**2).reshape(means.shape) / safe - means**2, LEAST_VARIANCE)
    rare = count[..., None] < LEAST_COUNT
    leaving = xi.sum(axis=1, keepdims=True)
    return WordHmm(
        np.where(leaving > 0, xi / np.maximum(leaving, 1e-300), model.transitions),
        count / count.sum(axis=1, keepdims=True),
        np.where(rare, model.means, means),
        np.where(rare, model.variances, variances),
    )
