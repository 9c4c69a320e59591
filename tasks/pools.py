"""The pools of a deployment: their names and sorts, as BACKLOT_POOLS lists them.

Names no pool but the two that every deployment may have. Which models run on a pool stands in models.toml.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

Sort = Literal["cpu", "gpu"]
"""`cpu`: each slot is a child process. `gpu`: the slots are threads of one process, on a GPU where there is one."""
SORTS: tuple[Sort, ...] = get_args(Sort)
PoolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""A part of queue names (`<pool>.<kind>`), so without a dot or a colon."""
DEFAULT: dict[str, Sort] = {sort: sort for sort in SORTS}
"""The default pools: one of each sort, named like the sort."""
RESERVED = ("keeper", "api", "redis", "s3")
"""Names of the other programs that deploy/local supervises; a pool is a program there too."""


def parse(text: str) -> dict[str, str]:
    """The sort of each pool, by name and in order, of `name` or `name:sort` with commas between.

    A name without a sort must be a sort itself. Errors: ValueError, which names the entry. The sorts and the names'
    letters are not checked here.
    """
    pools: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, colon, sort = entry.partition(":")
        if not colon and name not in SORTS:
            raise ValueError(f"{entry!r} has no sort: write {name}:cpu or {name}:gpu")
        if name in RESERVED:
            raise ValueError(f"{name!r} is the name of another program; a pool needs its own")
        if name in pools:
            raise ValueError(f"the pool {name!r} stands twice")
        pools[name] = sort or name
    return pools
