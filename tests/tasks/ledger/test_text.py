"""The text so far of a running job: only its attempt's token appends, and it goes with the end."""

from tasks.ledger import keys
from tasks.ledger.shapes import TEXT_MAX_BYTES


def written(desk, claimed) -> str | None:
    return desk.ledger.redis.get(keys.text(claimed.fixed.id))


def test_pieces_are_appended_once_each(desk):
    """A piece that is sent again, as after a lost reply, changes nothing; nor does one behind a gap."""
    claimed = desk.running()
    for text, at in (("Once", 0), ("Once", 0), (" upon", 4), (" upon", 4), ("Once", 0), ("gap", 50)):
        desk.ledger.report(claimed.fixed.id, claimed.token, text=text, text_at=at)
    assert written(desk, claimed) == "00000001Once upon"
    assert desk.record(claimed)["text"] == "1"


def test_only_the_attempts_token_appends(desk):
    claimed = desk.running()
    desk.ledger.report(claimed.fixed.id, claimed.token, text="Once", text_at=0)
    assert desk.ledger.report(claimed.fixed.id, "another", text=" more", text_at=4) == "lost"
    assert written(desk, claimed) == "00000001Once"


def test_another_attempt_begins_anew(desk):
    """The earlier text stays until then, with its attempt's number."""
    claimed = desk.running()
    desk.ledger.report(claimed.fixed.id, claimed.token, text="Once", text_at=0)
    desk.release(claimed)
    assert written(desk, claimed) == "00000001Once"
    again = desk.claim(slot=claimed.fixed.id)
    desk.ledger.report(again.fixed.id, again.token, text="Twice", text_at=0)
    assert written(desk, again) == "00000002Twice"


def test_at_the_limit_the_text_is_cut_and_says_so(desk):
    """Just at it all fits; a byte more does not, and what is there stays."""
    claimed = desk.running()
    desk.ledger.report(claimed.fixed.id, claimed.token, text="x" * (TEXT_MAX_BYTES - 2), text_at=0)
    desk.ledger.report(claimed.fixed.id, claimed.token, text="\u00e9", text_at=TEXT_MAX_BYTES - 2)
    assert desk.record(claimed)["text"] == "1"
    desk.ledger.report(claimed.fixed.id, claimed.token, text="y", text_at=TEXT_MAX_BYTES)
    assert desk.record(claimed)["text"] == "1 cut"
    assert len(written(desk, claimed).encode()) == 8 + TEXT_MAX_BYTES


def test_the_text_goes_with_the_end(desk):
    """And has a lifetime meanwhile, should the end never come."""
    claimed = desk.running()
    desk.ledger.report(claimed.fixed.id, claimed.token, text="Once", text_at=0)
    assert 0 < desk.ledger.redis.ttl(keys.text(claimed.fixed.id)) <= 86400
    desk.commit(claimed)
    assert written(desk, claimed) is None and "text" not in desk.record(claimed)
