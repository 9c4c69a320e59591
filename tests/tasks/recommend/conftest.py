"""A catalogue and who chose what of it, as files that jobs of a test read."""

from pathlib import Path

import numpy as np
import pytest

FILMS, PEOPLE = 24, 18


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "films.csv"
    rows = (f"f{n},Film {n},{('Horror', 'Comedy')[n % 2]},Director {n % 5}" for n in range(FILMS))
    path.write_text("id,title,genres,director\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def choices(catalogue) -> Path:
    """u0, u2, ... choose horror, u1, u3, ... comedies; nobody chooses film 23."""
    path, random = catalogue.with_name("choices.csv"), np.random.default_rng(0)
    rows = [
        (f"u{user}", f"f{int(item)}", 4 + int(item) % 2, time)
        for user in range(PEOPLE)
        for time, item in enumerate(random.choice(np.arange(user % 2, FILMS - 1, 2), 6, replace=False))
    ]
    path.write_text("user,item,rating,time\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path
