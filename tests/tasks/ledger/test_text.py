"""The text and the log so far of a running job: only its attempt's token appends, and they go with the end."""

import pytest

from tasks.ledger import keys
from tasks.ledger.shapes import TEXT_MAX_BYTES


@pytest.fixture(params=["text", "log"])
def what(request) -> str:
    return request.param


@pytest.fixture
def tell(desk, what):
    """Reports a piece behind so many bytes: tell(claimed, "Once", 0)."""

    def told(claimed, piece: str, at: int, token: str = "") -> str:
        more = {what: piece, f"{what}_at": at}
        return desk.ledger.report(claimed.fixed.id, token or claimed.token, **more)

    return told


@pytest.fixture
def written(desk, what):
    return lambda claimed: desk.ledger.redis.get(getattr(keys, what)(claimed.fixed.id))


def test_pieces_are_appended_once_each(desk, what, tell, written):
    """A piece that is sent again, as after a lost reply, changes nothing; nor does one behind a gap."""
    claimed = desk.running()
    for text, at in (("Once", 0), ("Once", 0), (" upon", 4), (" upon", 4), ("Once", 0), ("gap", 50)):
        tell(claimed, text, at)
    assert written(claimed) == "00000001Once upon"
    assert desk.record(claimed)[what] == "1"


def test_only_the_attempts_token_appends(desk, what, tell, written):
    claimed = desk.running()
    tell(claimed, "Once", 0)
    assert tell(claimed, " more", 4, token="another") == "lost"
    assert written(claimed) == "00000001Once"


def test_another_attempt_begins_anew(desk, what, tell, written):
    """The earlier text stays until then, with its attempt's number."""
    claimed = desk.running()
    tell(claimed, "Once", 0)
    desk.release(claimed)
    assert written(claimed) == "00000001Once"
    again = desk.claim(slot=claimed.fixed.id)
    tell(again, "Twice", 0)
    assert written(again) == "00000002Twice"


def test_at_the_limit_the_text_is_cut_and_says_so(desk, what, tell, written):
    """Just at it all fits; a byte more does not, and what is there stays."""
    claimed = desk.running()
    tell(claimed, "x" * (TEXT_MAX_BYTES - 2), 0)
    tell(claimed, "\u00e9", TEXT_MAX_BYTES - 2)
    assert desk.record(claimed)[what] == "1"
    tell(claimed, "y", TEXT_MAX_BYTES)
    assert desk.record(claimed)[what] == "1 cut"
    assert len(written(claimed).encode()) == 8 + TEXT_MAX_BYTES


def test_the_text_goes_with_the_end(desk, what, tell, written):
    """And has a lifetime meanwhile, should the end never come."""
    claimed = desk.running()
    tell(claimed, "Once", 0)
    assert 0 < desk.ledger.redis.ttl(getattr(keys, what)(claimed.fixed.id)) <= 86400
    desk.commit(claimed)
    assert written(claimed) is None and what not in desk.record(claimed)
