"""The pieces of a text that grows, as rounds of reports take them."""

from tasks.ledger.shapes import TEXT_MAX_BYTES
from worker.so_far import PIECE_MAX, SoFar


def pieces(so_far: SoFar) -> list[tuple[str, int]]:
    """All that is new, each noted as sent."""
    taken = []
    while (piece := so_far.piece())[0]:
        so_far.sent(piece[0])
        taken.append(piece)
    return taken


def test_each_part_is_a_piece_once():
    so_far = SoFar()
    so_far.tell("Once")
    assert so_far.piece() == so_far.piece() == ("Once", 0)  # until it is noted as sent
    assert pieces(so_far) == [("Once", 0)]
    so_far.tell("Once, \u00e9")
    so_far.tell("Once, \u00e9\ud800!")
    assert pieces(so_far) == [(", \u00e9\ufffd!", 4)]
    so_far.tell("Once, \u00e9\ud800! More")
    assert pieces(so_far) == [(" More", 12)]


def test_a_model_that_begins_again_tells_nothing_twice():
    """A batch that was split; one that writes something else then tells no more."""
    so_far = SoFar()
    so_far.tell("Once upon")
    assert pieces(so_far)
    so_far.tell("Once")
    assert not pieces(so_far)
    so_far.tell("Once upon a time")
    assert pieces(so_far) == [(" a time", 9)]
    so_far.tell("Twice upon a time, or so")
    assert not pieces(so_far)


def test_a_long_text_comes_in_pieces_up_to_a_last_that_is_over_the_limit():
    """The ledger leaves that one out, and says that the text is cut."""
    so_far = SoFar()
    so_far.tell("x" * TEXT_MAX_BYTES * 3)
    taken = pieces(so_far)
    assert {len(piece) for piece, _ in taken[:-1]} == {PIECE_MAX}
    assert [at for _, at in taken] == list(range(0, TEXT_MAX_BYTES + 1, PIECE_MAX))
    assert taken[-1][1] + len(taken[-1][0]) == TEXT_MAX_BYTES + 1
    so_far.tell("x" * TEXT_MAX_BYTES * 4)
    assert not pieces(so_far)
