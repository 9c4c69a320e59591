"""Budgets of tenants for a month (UTC): warns once four fifths are spent, refuses new jobs once all is.

A submit asks a figure in memory, which a thread reads from the counters each SPENT_S. It costs no trip to Redis. Jobs
that run, or are accepted meanwhile, may pass the budget. Until the first figure nothing is refused.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tasks.errors import BacklotError, BudgetSpent
from tasks.ledger import Idempotency, Ledger, keys
from tasks.ledger.faults import away
from tasks.prices import Prices, written
from tasks.service.usage import Wanted, grouped

log = logging.getLogger(__name__)
SPENT_S = 10
"""Seconds between two reads of what tenants have spent."""
WARNED_AT = Decimal("0.8")
"""Share of a budget from which accepted jobs have the header Backlot-Budget."""


@dataclass(frozen=True)
class Standing:
    """The spent and the whole of a tenant's budget, until `resets_at`."""

    spent: Decimal
    most: Decimal
    currency: str
    resets_at: datetime

    @property
    def header(self) -> str:
        """The value of the header Backlot-Budget."""
        return (
            f'spent={written(self.spent)}; budget={written(self.most)}; currency="{self.currency}"; '
            f'resets="{self.resets_at:%Y-%m-%dT%H:%M:%SZ}"'
        )


class Budgets:
    """The budgets of all tenants. Without prices, or for a tenant without a budget, everything is allowed."""

    def __init__(self, prices: Prices | None, ledger: Ledger) -> None:
        self._prices, self._ledger = prices, ledger
        self._known: Mapping[str, Standing] = {}
        self._started = threading.Lock()

    def standing(self, tenant: str) -> Standing | None:
        """The tenant's budget as it stood at most SPENT_S ago; None where it has none, or nothing is known yet."""
        if self._prices is None or tenant not in self._prices.budget:
            return None
        if self._started.acquire(blocking=False):  # never released: one thread a process, once it is needed
            threading.Thread(target=self._follow, name="budgets", daemon=True).start()
        known = self._known.get(tenant)
        return known if known and known.resets_at > datetime.now(UTC) else None

    def is_spent(self, tenant: str) -> bool:
        standing = self.standing(tenant)
        return standing is not None and standing.spent >= standing.most

    def warning(self, tenant: str) -> str:
        """The value of the header Backlot-Budget; '' below WARNED_AT."""
        standing = self.standing(tenant)
        return standing.header if standing and standing.spent >= WARNED_AT * standing.most else ""

    def check(self, tenant: str, idempotency: Idempotency | None = None) -> None:
        """Errors: BudgetSpent, unless the Idempotency-Key was used before: a replay makes no job."""
        standing = self.standing(tenant)
        if standing is None or standing.spent < standing.most:
            return
        if idempotency:
            with away():
                if self._ledger.redis.exists(keys.idempotency(tenant, idempotency.digest)):
                    return
        raise BudgetSpent(
            written(standing.spent), written(standing.most), standing.currency, f"{standing.resets_at:%Y-%m-%d}"
        )

    def refresh(self) -> None:
        """Read what each tenant with a budget has spent in this month. Errors: NotReady."""
        if self._prices is None:
            return
        today = datetime.now(UTC).date()
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        resets_at = datetime(following.year, following.month, 1, tzinfo=UTC)
        known: dict[str, Standing] = {}
        for tenant, most in self._prices.budget.items():
            groups = grouped(self._ledger, Wanted(tenant, first, today, ()), self._prices)
            spent = sum((one.cost for one in groups.values()), Decimal(0))
            known[tenant] = Standing(spent, most, self._prices.currency, resets_at)
        self._known = known

    def _follow(self) -> None:
        while True:
            try:
                self.refresh()
            except BacklotError as error:
                log.warning("budgets are judged by older figures: %s", error.detail)
            except Exception:
                log.exception("budgets are judged by older figures")
            time.sleep(SPENT_S)
