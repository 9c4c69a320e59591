"""Measures of how surely a CTC network hears a stretch, from which domain.py judges whether it learned the like.

Knows emissions and a word model, no sound. The measures are of the likeliest sign of each step, without a search, so
that a job's params do not change them. Uncertain outputs as a sign of foreign input: Hendrycks, Gimpel, "A baseline for
detecting misclassified and out-of-distribution examples in neural networks" (2017).
"""

import numpy as np

from tasks.transcribe.alphabet import BLANK
from tasks.transcribe.ngram import WordModel
from tasks.transcribe.search import Emission, best_path, spoken

MEASURES = ("entropy", "language", "confidence", "signs", "blank")


def of_emission(emission: Emission, seconds: float, model: WordModel) -> dict[str, float]:
    """A value for each of MEASURES.

    entropy     nats, mean over the steps whose likeliest sign is no blank
    language    ln p of a word by the word model, mean
    confidence  mean of the words'
    signs       a second
    blank       share of the steps whose likeliest sign is the blank
    """
    signs = best_path(emission)
    words = spoken(emission, signs)
    texts = tuple(word.text for word in words)
    entropy = -(np.exp(emission) * emission).sum(axis=1)
    sounding = emission.argmax(axis=1) != BLANK
    return {
        "entropy": float(entropy[sounding].mean()) if sounding.any() else 0.0,
        "language": float(np.mean([model.log_p(word, texts[:n]) for n, word in enumerate(texts)])) if texts else 0.0,
        "confidence": float(np.mean([word.confidence for word in words])) if words else 0.0,
        "signs": len(signs) / seconds,
        "blank": 1 - float(sounding.mean()),
    }
