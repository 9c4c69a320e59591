"""tf-idf as scikit-learn computes it, which the worker does without."""

import random

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.preprocessing import normalize

from tasks.recommend import words

ODD = ["", "the of and", "Ça n'est pas l'été, x 2001: a_b ΣΑΣ İstanbul", "word word WORD Word's"]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts with other scripts, numbers, apostrophes or nothing; and 200 in which no two words are equally frequent:
    of such ones scikit-learn keeps any."""
    drawn = random.Random(7)
    bag = [f"w{number}" for number in range(100) for _ in range(number + 10)]
    drawn.shuffle(bag)
    return [*ODD, *(" ".join(bag[start::200]) for start in range(200))]


@pytest.mark.parametrize("most", [None, 40, 1])
def test_texts_are_weighed_as_scikit_learn_weighs_them(texts, most):
    """The words that are kept, their order, and every weight."""
    theirs = TfidfVectorizer(stop_words="english", max_features=most)
    expected = theirs.fit_transform(texts)
    rows, known = words.tf_idf(map(words.english, texts), most)
    assert known == list(theirs.get_feature_names_out())
    assert abs(rows - expected).max() < 1e-15


def test_stop_words_are_those_of_scikit_learn():
    assert words.STOP_WORDS == ENGLISH_STOP_WORDS


def test_rows_have_length_one_or_nothing():
    rows = sparse.random(50, 20, density=0.1, format="csr", random_state=np.random.default_rng(1))
    assert (rows.getnnz(axis=1) == 0).any()
    assert abs(words.unit(rows) - normalize(rows)).max() < 1e-15


def test_documents_without_words_have_no_columns():
    rows, known = words.tf_idf([[], []])
    assert (rows.shape, known) == ((2, 0), [])
