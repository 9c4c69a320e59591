"""Usage of tenants by day, key, kind, model and metadata: reads the counters, groups and prices them.

It changes nothing and knows no API key; the counters are the keeper's (worker/keeper/usage.py).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from tasks.errors import InvalidRequest
from tasks.ledger import Ledger
from tasks.ledger.usage import Month
from tasks.prices import Prices
from tasks.usage import Amounts, Row, first_kept, month_of

log = logging.getLogger(__name__)
FIELDS = ("tenant", "day", "key", "kind", "model")
"""Names by which rows are grouped; and `metadata.<key>`, of one key at a time."""
METADATA = "metadata."
GROUPS_MAX = 10_000
"""Groups of one answer."""
MONTHS_A_READ = 10
Group = tuple[str | None, ...]
"""The values of a group, in the order of the names."""


@dataclass(frozen=True)
class Wanted:
    """A selection of usage: `tenant` None for all; days, both included; the names by which it is grouped."""

    tenant: str | None
    first: date
    last: date
    names: tuple[str, ...]


def check(wanted: Wanted, today: date, metadata: Sequence[str]) -> None:
    """Errors: InvalidRequest where days or names cannot be. `metadata`: the keys that are counted."""
    wrong: list[dict[str, str]] = []
    if wanted.first > wanted.last:
        wrong.append({"pointer": "/from", "detail": f"is after `to`, {wanted.last}"})
    if wanted.first < first_kept(today):
        wrong.append({"pointer": "/from", "detail": f"usage is kept from {first_kept(today)} on"})
    if wanted.last > today:
        wrong.append({"pointer": "/to", "detail": f"is after today, {today} (UTC)"})
    if found := _wrong_names(wanted.names, metadata):
        wrong.append({"pointer": "/group_by", "detail": found})
    if wrong:
        raise InvalidRequest(wrong)


@dataclass
class Sum:
    """The sums of a group; `cost` 0 without prices."""

    amounts: Amounts = field(default_factory=Amounts)
    cost: Decimal = Decimal(0)


def grouped(ledger: Ledger, wanted: Wanted, prices: Prices | None = None) -> dict[Group, Sum]:
    """The sums by group, with the cost by these prices. Errors: InvalidRequest for more than GROUPS_MAX; NotReady."""
    ledger.ready()  # a Redis that has lost its memory would show too little
    counted = next((name.removeprefix(METADATA) for name in wanted.names if name.startswith(METADATA)), "")
    sums: dict[Group, Sum] = {}
    for tenant, day, row, amounts in _rows(ledger, wanted):
        if row.name != counted or not wanted.first <= day <= wanted.last:
            continue
        values = {"tenant": tenant, "day": day.isoformat(), "key": row.key, "kind": row.kind, "model": row.model}
        values[METADATA + counted] = row.value
        one = sums.setdefault(tuple(values[name] for name in wanted.names), Sum())
        one.amounts.add(amounts)
        one.cost += prices.cost(row, amounts) if prices else 0
        if len(sums) > GROUPS_MAX:
            detail = f"makes more than {GROUPS_MAX:,} groups; ask for fewer days or names"
            raise InvalidRequest([{"pointer": "/group_by", "detail": detail}])
    return dict(sorted(sums.items(), key=lambda item: tuple(value or "" for value in item[0])))


def _wrong_names(names: Sequence[str], metadata: Sequence[str]) -> str:
    """A sentence about the first name that cannot be; '' where all can."""
    for name in names:
        key = name.removeprefix(METADATA)
        if names.count(name) > 1:
            return f"names {name[:80]} twice"
        if name not in FIELDS and (key == name or key not in metadata):
            known = ", ".join([*FIELDS, *(METADATA + one for one in metadata)])
            return f"{name[:80]!r} is none of {known}"
    if sum(name.startswith(METADATA) for name in names) > 1:
        return "names two keys of metadata; name one"
    return ""


def _rows(ledger: Ledger, wanted: Wanted) -> Iterator[tuple[str, date, Row, Amounts]]:
    """The rows of the months that the days lie in. What cannot be read is logged and left out."""
    months = list(_months(ledger, wanted))
    for first in range(0, len(months), MONTHS_A_READ):
        some = months[first : first + MONTHS_A_READ]
        for (tenant, month), fields in zip(some, ledger.usage_fields(some), strict=True):
            for name, kept in fields.items():
                if not name.startswith("["):  # the values of a metadata key
                    continue
                try:
                    row = Row.read(name)
                    yield tenant, date.fromisoformat(f"{month}-{row.day:02}"), row, Amounts.read(kept)
                except (ValueError, TypeError) as error:
                    log.error("the usage of %s in %s has a row that cannot be read: %s", tenant, month, error)


def _months(ledger: Ledger, wanted: Wanted) -> Iterator[Month]:
    """The tenant's months that the days lie in; those of all tenants where none is named."""
    names, day = [], wanted.first.replace(day=1)
    while day <= wanted.last:
        names.append(month_of(day))
        day = (day + timedelta(days=31)).replace(day=1)
    if wanted.tenant is not None:
        yield from ((wanted.tenant, name) for name in names)
    else:
        yield from (month for month in sorted(ledger.usage_months()) if month[1] in names)
