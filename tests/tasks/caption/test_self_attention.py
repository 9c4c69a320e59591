"""Self-attention over places, by the formula; the cells, the beginning, and the control. Weights at random."""

import pytest
import torch

from tasks.caption import cnn_lstm, self_attention
from tasks.caption.captioner import network
from tasks.caption.encoder import MOST, Sight, everywhere
from tasks.caption.teller import waves
from tasks.caption.training.control import TellApart
from tests.tasks.caption.test_network import SIZE, any_sight, config_of, seen, stir


def recombining():
    """A teller as trained ones are, of three things."""
    torch.manual_seed(0)
    teller = network(config_of("self-attention"), self_attention.RecombineAndTell).teller
    stir(teller)
    return teller.eval()


@torch.no_grad()
def test_self_attention_is_the_papers_formula_over_places_with_something():
    """A and b by hand, head by head, place by place; two things, six empty places."""
    teller, sight = recombining(), seen((0, -0.8, 0.3), (1, 0.8, -0.3))
    a, there = teller.annotate(sight), sight.features.any(dim=2)
    p = a + teller.place(waves(sight))
    b, A = teller.recombine(a, p, there)
    size = 8 // self_attention.HEADS
    for place in range(MOST):
        heads = []
        for head in range(self_attention.HEADS):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (layer(p[0])[:, part] for layer in (teller.recombine.Q, teller.recombine.K, teller.recombine.V))
            alpha = (k[:2] @ q[place] / size**0.5).softmax(dim=0)
            assert torch.allclose(A[0, head, place, :2], alpha, atol=1e-5) and not A[0, head, place, 2:].any()
            heads.append(alpha @ v[:2])
        assert torch.allclose(b[0, place], a[0, place] + teller.recombine.O(torch.cat(heads)), atol=1e-5)


@torch.no_grad()
def test_each_place_lies_in_its_cell_of_the_grid():
    """Corners, the middle, and two places of one cell, which are added up."""
    teller, sight = recombining(), seen((0, -1, -1), (1, 1, 1), (2, 0, 0), (0, 0.1, -0.1))
    b = (
        torch.arange(MOST, dtype=torch.float)[None, :, None].expand(1, MOST, SIZE)
        * (sight.features.any(dim=2))[..., None]
    )
    grid = self_attention.cells(b, sight)
    assert grid.shape == (1, SIZE, 7, 7)
    assert (grid[0, :, 6, 6] == 1).all() and (grid[0, :, 3, 3] == 2 + 3).all()
    assert grid.sum() == SIZE * (0 + 1 + 2 + 3) and teller.convolution(grid).shape[2:] == (7, 7)


@torch.no_grad()
def test_of_plain_features_the_cells_are_the_places():
    """The 7 x 7 places of SqueezeNet come back as they were."""
    F = torch.randn(2, 5, 7, 7)
    sight = everywhere(F)
    assert torch.equal(self_attention.cells(sight.features, sight), F)


@torch.no_grad()
def test_it_begins_as_cnn_lstm():
    """With O and the last full layer at zero and the rest of ShowAndTell's weights, the words are the same."""
    plain = network(config_of("cnn-lstm"), cnn_lstm.ShowAndTell).teller.eval()
    teller = network(config_of("self-attention"), self_attention.RecombineAndTell).teller.eval()
    teller.load_state_dict(plain.state_dict(), strict=False)
    sight, tokens = any_sight(rows=2), torch.tensor([[0, 3, 9], [0, 4, 8]])
    assert torch.allclose(teller(sight, tokens), plain(sight, tokens), atol=1e-5)


@torch.no_grad()
def test_without_anything_seen_nothing_is_infinite():
    """A picture without peaks beside one with some: finite words for both, and the other's are its own."""
    teller = recombining()
    empty, full = seen(), seen((0, 0, 0))
    parts = ("features", "x", "y", "places")
    both = Sight(*(torch.cat([getattr(one, part) for one in (empty, full)]) for part in parts), (3, 3))
    told = teller(both, torch.tensor([[0], [0]]))
    assert told.isfinite().all() and torch.allclose(told[1:], teller(full, torch.tensor([[0]])), atol=1e-5)


@torch.no_grad()
def test_the_control_has_as_many_weights_and_no_place_sees_another():
    """Its numbers of weights differ by some biases; moving one thing changes b of no other place."""
    model, control = (
        network(config_of("self-attention"), teller).teller.eval()
        for teller in (self_attention.RecombineAndTell, TellApart)
    )
    sizes = [sum(p.numel() for p in one.parameters()) for one in (model, control)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    torch.nn.init.normal_(control.recombine.back.weight)
    stir(model)
    here, moved = seen((0, -0.8, 0), (1, 0.8, 0)), seen((0, -0.8, 0), (1, 0.8, 0.7))

    def other_place(teller):
        found = []
        for sight in (here, moved):
            a = teller.annotate(sight)
            found.append(teller.recombine(a, a + teller.place(waves(sight)), sight.features.any(dim=2))[0][0, 0])
        return torch.allclose(*found, atol=1e-6)

    assert other_place(control) and not other_place(model)
