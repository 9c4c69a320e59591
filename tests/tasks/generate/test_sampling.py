"""How generate chooses tokens and ends texts: against references written out in full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.generate import Params
from tasks.generate.sampling import Continuation, choose, distribution, penalised

SCORES = st.lists(st.integers(-40, 40).map(lambda n: n / 4), min_size=1, max_size=12)


def softmax(scores, temperature):
    shifted = [np.exp((score - max(scores)) / temperature) for score in scores]
    return [value / sum(shifted) for value in shifted]


def reference(scores, temperature, top_k, top_p):
    """Sort, keep k, keep until p is reached, share out again: the definitions, token by token."""
    shares = softmax(scores, temperature)
    ranked = sorted(range(len(scores)), key=lambda n: (-shares[n], n))
    ranked = ranked[:top_k] if top_k else ranked
    whole, kept = sum(shares[n] for n in ranked), []
    for n in ranked:
        kept.append(n)
        if sum(shares[k] for k in kept) / whole >= top_p - 1e-12:
            break
    return [shares[n] / sum(shares[k] for k in kept) if n in kept else 0.0 for n in range(len(scores))]


@given(SCORES, st.sampled_from([0.3, 1.0, 2.5]), st.integers(0, 14), st.sampled_from([0.05, 0.37, 0.61, 0.93, 1.0]))
def test_the_distribution_is_the_reference(scores, temperature, top_k, top_p):
    """Temperature, then top-k, then top-p, as the definitions say, ties and all."""
    params = Params(temperature=temperature, top_k=top_k, top_p=top_p)
    expected = reference(scores, temperature, top_k, top_p)
    np.testing.assert_allclose(distribution(np.array(scores), params), expected, atol=1e-9)


def test_temperature_zero_takes_the_first_of_the_likeliest():
    """No chance at all: whatever the seed."""
    scores = np.array([1.0, 7.0, 7.0, 3.0])
    assert {choose(scores, Params(temperature=0), np.random.default_rng(seed)) for seed in range(50)} == {1}


@pytest.mark.parametrize("temperature", [1e-300, 1e-12])
def test_a_temperature_near_zero_is_not_a_division_by_nothing(temperature):
    """The likeliest takes all, without a warning or a nan."""
    shares = distribution(np.array([-3.0, 2.0, 1.999, 0.0]), Params(temperature=temperature))
    assert shares.tolist() == [0, 1, 0, 0]


def test_draws_follow_the_distribution():
    """20,000 draws lie within five standard deviations of the shares asked for."""
    scores, params, random = np.log([0.5, 0.3, 0.15, 0.05]), Params(temperature=1), np.random.default_rng(3)
    counts = np.bincount([choose(scores, params, random) for _ in range(20_000)], minlength=4)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    assert (abs(counts - 20_000 * shares) < 5 * np.sqrt(20_000 * shares * (1 - shares))).all()


def test_a_token_left_out_is_never_drawn():
    """Even where the source gives the ends of its range."""

    class Ends:
        def __init__(self, value):
            self.random = lambda: value

    scores = np.array([0.0, 5.0, 4.0, 0.0])
    drawn = {choose(scores, Params(top_k=2), Ends(value)) for value in (0.0, 1 - 2**-53)}
    assert drawn == {1, 2}


@given(SCORES, st.sets(st.integers(0, 11)), st.sampled_from([0.5, 1.0, 1.7]))
def test_the_repetition_penalty_is_the_transformers_librarys(scores, seen, penalty):
    """Its processor, on the same scores and a text of the tokens seen."""
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    seen = {token for token in seen if token < len(scores)}
    expected = torch.tensor([scores], dtype=torch.float64)
    if seen:
        expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([sorted(seen)]), expected)
    np.testing.assert_allclose(penalised(np.array(scores), seen, penalty), expected[0].numpy())


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "ba", " ", "é", "aba"]), max_size=30)
STOPS = st.lists(st.text("ab é", min_size=1, max_size=5), max_size=4)


def said(pieces, stops):
    """All that is settled after each piece, and the continuation at its end."""
    continuation, settled = Continuation(stops), []
    for piece in pieces:
        continuation.add(piece)
        settled.append(continuation.settled())
        if continuation.stopped:
            break
    return settled, continuation


@given(PIECES, STOPS)
def test_the_text_ends_before_the_first_stop_text(pieces, stops):
    """As if all were written first, and cut where the earliest stop text to be complete begins."""
    _, continuation = said([piece.encode() for piece in pieces], stops)
    wholes = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
    hit = next((whole for whole in wholes if any(stop in whole for stop in stops)), None)
    assert continuation.stopped == (hit is not None)
    expected = "".join(pieces) if hit is None else hit[: min(hit.find(stop) for stop in stops if stop in hit)]
    assert continuation.text == expected


@given(PIECES, STOPS)
def test_what_was_settled_is_never_taken_back(pieces, stops):
    """Each report shows a beginning of the final text, so no part of a stop text is ever shown."""
    settled, continuation = said([piece.encode() for piece in pieces], stops)
    assert all(continuation.text.startswith(shown) for shown in settled)
    assert not any(stop in continuation.text for stop in stops)


@given(st.lists(st.text(max_size=4), max_size=8), st.data())
def test_only_whole_characters_come_out(texts, data):
    """However the bytes are cut into tokens, and wherever writing ends."""
    whole = "".join(texts)
    cut = data.draw(st.integers(0, len(whole.encode())))
    continuation = Continuation([])
    for byte in whole.encode()[:cut]:
        continuation.add(bytes([byte]))
    assert whole.startswith(continuation.text)
    assert len(whole.encode()[:cut]) - len(continuation.text.encode()) < 4


def test_bytes_that_make_no_character_are_left_out():
    """A lone middle byte, and a beginning that is not gone on with."""
    continuation = Continuation([])
    for piece in (b"a\x80", b"\xe2\x80", b"b", b"\xc3"):
        continuation.add(piece)
    assert continuation.text == "ab"


def test_after_a_space_no_second_one_comes():
    """The prompt's own space stands for the first word's."""
    continuation = Continuation([], after_space=True)
    continuation.add(b" once")
    continuation.add(b" more")
    assert continuation.text == "once more"
