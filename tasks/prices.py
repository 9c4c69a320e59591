"""Prices of what jobs use, and budgets of tenants, as the operator's file says; amounts are exact decimals.

    currency = "EUR"

    [[price]]                      # of each unit the last entry counts whose pool, kind and model all fit
    run_s = 0.0002                 # run_s, load_s, attempt_s, prompt_tokens, completion_tokens, sound_s, pictures,
    [[price]]                      # gb_in, gb_out
    kind = "generate"
    completion_tokens = 0.000002

    [budget]                       # a month (UTC)
    acme = 100

It reads nothing but this file, and knows no counter's origin.
"""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.models_file import Misconfigured
from tasks.usage import Amounts, Row

Money = Annotated[Decimal, Field(ge=0, max_digits=24, decimal_places=12)]
MILLI, GIGA = Decimal("0.001"), Decimal("1e-9")
UNITS: dict[str, tuple[str, Decimal]] = {
    "run_s": ("run_ms", MILLI),
    "load_s": ("load_ms", MILLI),
    "attempt_s": ("attempt_ms", MILLI),
    "prompt_tokens": ("prompt_tokens", Decimal(1)),
    "completion_tokens": ("completion_tokens", Decimal(1)),
    "sound_s": ("sound_ms", MILLI),
    "pictures": ("pictures", Decimal(1)),
    "gb_in": ("bytes_in", GIGA),
    "gb_out": ("bytes_out", GIGA),
}
"""Units that have a price: the counter of each, and the units in one of it. A GB is 1,000,000,000 bytes."""


class Price(BaseModel):
    """Prices of some units, of all jobs or of those of a pool, a kind or a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pool: str | None = None
    kind: str | None = None
    model: str | None = None
    run_s: Money | None = None
    load_s: Money | None = None
    attempt_s: Money | None = None
    prompt_tokens: Money | None = None
    completion_tokens: Money | None = None
    sound_s: Money | None = None
    pictures: Money | None = None
    gb_in: Money | None = None
    gb_out: Money | None = None

    def fits(self, row: Row) -> bool:
        return all(
            named in (None, own)
            for named, own in ((self.pool, row.pool), (self.kind, row.kind), (self.model, row.model))
        )


class Prices(BaseModel):
    """The operator's prices and budgets."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    currency: str = Field(min_length=1, max_length=16, pattern=r"^[A-Za-z]+$")
    price: list[Price] = Field([], max_length=1000)
    budget: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")], Money] = {}

    @classmethod
    def read(cls, path: Path) -> "Prices":
        """Errors: Misconfigured, with the file and each mistake."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal))
        except OSError as error:
            raise Misconfigured(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            places = ((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False))
            raise Misconfigured("\n".join(f"{path}: {place}: {what}" for place, what in places)) from error
        except ValueError as error:  # no TOML, or no text
            raise Misconfigured(f"{path}: {error}") from error

    def cost(self, row: Row, amounts: Amounts) -> Decimal:
        """The cost of a row's amounts, exact."""
        fitting = [price for price in self.price if price.fits(row)]
        total = Decimal(0)
        for unit, (counter, size) in UNITS.items():
            known = [each for price in fitting if (each := getattr(price, unit)) is not None]
            if known:
                total += known[-1] * getattr(amounts, counter) * size
        return total


def written(amount: Decimal) -> str:
    """The amount in digits, without an exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
