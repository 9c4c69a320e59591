"""The health of the keepers' duties: each keeper writes it to Redis every round, and /v1/pools shows one summary.

It knows no duty. A keeper that has written nothing for ALIVE_MS counts as gone.
"""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, Field

from tasks.ledger import Ledger, keys
from tasks.ledger.client import Client
from tasks.ledger.faults import away

log = logging.getLogger(__name__)
Said = dict[str, Any]
"""The JSON of one keeper: {at_ms, duties: {name: Standing}}."""
ALIVE_MS = 30_000
KEEPERS_KEPT_S = 24 * 3600
"""The time for which the last keeper's health stays in Redis."""


@dataclass(frozen=True)
class Standing:
    """The health of one duty of one keeper.

    `age_s`: s since it last succeeded, None: never. `late_s`: the age above which it is late. `errors`: rounds that
    failed, `skipped`: entries that were left out, both since that keeper's start. `error`: the present one.
    """

    age_s: float | None
    late_s: float
    errors: int
    skipped: int
    error: str | None


class DutyShown(BaseModel):
    """One duty, done by any keeper."""

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


def tell(client: Client, keeper: str, duties: dict[str, Standing]) -> None:
    """Writes the health of a keeper's duties. Errors: NotReady."""
    with away("telling how the keeper stands"):
        now, known = _read(client)
        gone = [one for one, said in known.items() if said["at_ms"] < now - ALIVE_MS]
        said = {"at_ms": now, "duties": {name: asdict(standing) for name, standing in duties.items()}}
        with client.pipeline(transaction=True) as together:
            if gone:
                together.hdel(keys.KEEPERS, *gone)
            together.hset(keys.KEEPERS, keeper, json.dumps(said)).expire(keys.KEEPERS, KEEPERS_KEPT_S)
            together.execute()


def read(ledger: Ledger) -> Keepers:
    """One summary of all keepers that live; of the last ones where none does. Errors: NotReady."""
    with away():
        now, known = _read(ledger.unchecked().redis)
    alive = [said for said in known.values() if said["at_ms"] >= now - ALIVE_MS]
    names = dict.fromkeys(name for said in alive or known.values() for name in said["duties"])
    shown = [_shown(name, now, [said for said in alive or known.values() if name in said["duties"]]) for name in names]
    return Keepers(alive=len(alive), duties=shown)


def _shown(name: str, now: float, said: list[Said]) -> DutyShown:
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


def _read(client: Client) -> tuple[float, dict[str, Said]]:
    """Redis' time in ms, and each keeper's {at_ms, duties}; no duties where its JSON cannot be read."""
    with client.pipeline(transaction=False) as together:
        together.time().hgetall(keys.KEEPERS)
        (seconds, micros), texts = together.execute()
    said: dict[str, Said] = {}
    for keeper, text in texts.items():
        try:
            one = json.loads(text)
            for standing in one["duties"].values():
                Standing(**standing)
            said[keeper] = {"at_ms": float(one["at_ms"]), "duties": one["duties"]}
        except (ValueError, TypeError, KeyError, AttributeError):
            said[keeper] = {"at_ms": 0.0, "duties": {}}
    return seconds * 1000 + micros / 1000, said
