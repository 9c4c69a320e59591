"""The bench's scores against the code that the captioning papers use, and by hand."""

import importlib
import random

import pytest

from tests.bench.caption_metrics import bleu, cider, rouge_l

WORDS = ("there", "are", "two", "cats", "above", "a", "guitar", "and", "an", "ox", "near", "red", "cars", "in", "trees")


@pytest.fixture(scope="module")
def corpus():
    """Forty pictures: five captions each of drawn words, and one said that shares some of them."""
    chance = random.Random(0)
    wanted = [[chance.choices(WORDS, k=chance.randint(4, 12)) for _ in range(5)] for _ in range(40)]
    told = [
        [word if chance.random() < 0.7 else chance.choice(WORDS) for word in references[0][: chance.randint(3, 12)]]
        for references in wanted
    ]
    return told, wanted


def reference(scorer, corpus):
    """What pycocoevalcap says."""
    told, wanted = corpus
    return scorer.compute_score(
        {n: [" ".join(one) for one in ones] for n, ones in enumerate(wanted)},
        {n: [" ".join(said)] for n, said in enumerate(told)},
    )[0]


def test_bleu_is_that_of_the_coco_evaluation(corpus):
    """All four, to six digits."""
    bleu_module = importlib.import_module("pycocoevalcap.bleu.bleu")
    assert bleu(*corpus) == pytest.approx(reference(bleu_module.Bleu(4), corpus), abs=1e-6)


def test_rouge_l_is_that_of_the_coco_evaluation(corpus):
    rouge_module = importlib.import_module("pycocoevalcap.rouge.rouge")
    assert rouge_l(*corpus) == pytest.approx(reference(rouge_module.Rouge(), corpus), abs=1e-6)


def test_cider_is_that_of_the_coco_evaluation(corpus):
    cider_module = importlib.import_module("pycocoevalcap.cider.cider")
    assert cider(*corpus) == pytest.approx(reference(cider_module.Cider(), corpus), abs=1e-6)


def test_what_was_wanted_scores_highest_and_nothing_in_common_scores_nothing(corpus):
    """A reference word for word has BLEU and ROUGE of 1; other words have 0."""
    _, wanted = corpus
    same = [references[0] for references in wanted]
    assert bleu(same, wanted) == pytest.approx([1.0] * 4) and rouge_l(same, wanted) == pytest.approx(1.0)
    other = [["zebra"] * 5] * len(wanted)
    assert bleu(other, wanted) == [0.0] * 4 and rouge_l(other, wanted) == 0.0 and cider(other, wanted) == 0.0


def test_a_short_caption_pays_for_its_brevity():
    """'A cat' for 'a cat sat here': all it says is right, exp(1 - 4/2) is left."""
    assert bleu([["a", "cat"]], [[["a", "cat", "sat", "here"]]])[0] == pytest.approx(0.36788, abs=1e-5)
