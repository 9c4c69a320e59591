"""How the keepers' duties stand: each keeper leaves it in Redis every round, and /v1/pools shows them as one.

It knows no duty. A keeper that says nothing for ALIVE_MS counts as gone.
"""

import json
import logging
from dataclasses import asdict, dataclass

import redis
from pydantic import BaseModel, Field

from tasks.ledger import Ledger, keys
from tasks.ledger.faults import away

log = logging.getLogger(__name__)
ALIVE_MS, KEPT_S = 30_000, 24 * 3600
"""What the last keeper said is kept for a day."""


@dataclass(frozen=True)
class Standing:
    """One duty of one keeper. `age_s`: since it last succeeded, None: never; it is late once that is over `late_s`.
    `errors` are rounds that failed, `skipped` entries that were left out, since that keeper's start."""

    age_s: float | None
    late_s: float
    errors: int
    skipped: int
    error: str | None


class DutyShown(BaseModel):
    """One duty, by whichever keeper did it last."""

    name: str
    succeeded_s: float | None = Field(ge=0, description="since a keeper last did it without an error; null: never")
    late: bool = Field(description="it has failed or hung for longer than one may overlook")
    errors: int = Field(ge=0, description="rounds that failed, since the keepers' start")
    skipped: int = Field(ge=0, description="entries that could not be read and were left out, since the keepers' start")
    error: str | None = Field(description="with which it fails now, or for how long it has been at it")


class Keepers(BaseModel):
    """The keepers and their duties."""

    alive: int = Field(ge=0, description="keepers that have told of themselves in the last half minute")
    duties: list[DutyShown]


def tell(client: redis.Redis, keeper: str, duties: dict[str, Standing]) -> None:
    """Leave how a keeper's duties stand. Errors: NotReady."""
    with away("telling how the keeper stands"):
        now, known = _read(client)
        gone = [one for one, said in known.items() if said["at_ms"] < now - ALIVE_MS]
        said = {"at_ms": now, "duties": {name: asdict(standing) for name, standing in duties.items()}}
        with client.pipeline(transaction=True) as together:
            if gone:
                together.hdel(keys.KEEPERS, *gone)
            together.hset(keys.KEEPERS, keeper, json.dumps(said)).expire(keys.KEEPERS, KEPT_S)
            together.execute()


def read(ledger: Ledger) -> Keepers:
    """All keepers that live, as one; the last ones where none does. Errors: NotReady."""
    with away():
        now, known = _read(ledger.redis)
    alive = [said for said in known.values() if said["at_ms"] >= now - ALIVE_MS]
    names = dict.fromkeys(name for said in alive or known.values() for name in said["duties"])
    shown = [_shown(name, now, [said for said in alive or known.values() if name in said["duties"]]) for name in names]
    return Keepers(alive=len(alive), duties=shown)


def _shown(name: str, now: float, said: list[dict]) -> DutyShown:
    told = [(max(0.0, now - one["at_ms"]) / 1000, Standing(**one["duties"][name])) for one in said]
    ages = [standing.age_s + since for since, standing in told if standing.age_s is not None]
    late_s = max(standing.late_s for _, standing in told)
    return DutyShown(
        name=name,
        succeeded_s=round(min(ages), 3) if ages else None,
        late=not ages or min(ages) > late_s,
        errors=sum(standing.errors for _, standing in told),
        skipped=max(standing.skipped for _, standing in told),
        error=next((standing.error for _, standing in told if standing.error), None),
    )


def _read(client: redis.Redis) -> tuple[float, dict[str, dict]]:
    """Redis' ms, and what each keeper has said; one whose words cannot be read has said nothing."""
    with client.pipeline(transaction=False) as together:
        together.time().hgetall(keys.KEEPERS)
        (seconds, micros), texts = together.execute()
    said = {}
    for keeper, text in texts.items():
        try:
            one = json.loads(text)
            for standing in one["duties"].values():
                Standing(**standing)
            said[keeper] = {"at_ms": float(one["at_ms"]), "duties": one["duties"]}
        except (ValueError, TypeError, KeyError, AttributeError):
            said[keeper] = {"at_ms": 0.0, "duties": {}}
    return seconds * 1000 + micros / 1000, said
