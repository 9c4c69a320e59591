"""Names of columns: by which each is known, in the catalogue and in the interactions, and which is taken of several.

It knows headers, no cells. Letters alone count, in lower case: `movieId`, `movie_id` and `Movie ID` are one name. The
names are those of MovieLens, TMDB, IMDb, Netflix, Amazon, Goodreads, Steam, Last.fm and common exports, as they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.recommend import ROLES
from tasks.warning import warning

Tiers = tuple[tuple[str, ...], ...]
"""Names, the surest tier first. Of two in one tier, the first in the table is taken, and a warning names both."""
ITEMS: Tiers = (
    ("item", "itemid"),
    (
        *("movieid", "filmid", "showid", "seriesid", "titleid", "tconst", "asin", "productid", "bookid", "gameid"),
        *("appid", "trackid", "songid", "artistid", "albumid", "videoid", "animeid", "contentid", "programid"),
        *("episodeid", "podcastid", "articleid", "newsid", "businessid", "courseid", "recipeid", "sku", "mid"),
    ),
    ("parentasin", "imdbid", "tmdbid", "wikidataid", "isbn13", "isbn", "mbid", "uri", "trackuri", "netflixid"),
)
"""Ids of items, in both tables."""
TITLES: Tiers = (
    ("title", "primarytitle"),
    (
        *("name", "movietitle", "moviename", "filmtitle", "filmname", "showtitle", "seriestitle", "booktitle"),
        *("gametitle", "gamename", "trackname", "songtitle", "songname", "artistname", "producttitle", "productname"),
        *("videotitle", "appname", "itemtitle", "itemname"),
    ),
    ("originaltitle", "originalname"),
)
NAMED: Tiers = (
    ("movie", "film", "show", "series", "book", "game", "product", "track", "song", "artist", "video", "anime"),
    ("id",),
)
"""Columns of interactions that may name items: by title, or by an id that may be that of the row."""
CATALOGUE: Mapping[str, Tiers] = {
    "id": (("id",), *ITEMS),
    "title": TITLES,
    "year": (
        ("year",),
        ("releaseyear", "startyear", "yearofpublication", "originalpublicationyear", "publicationyear"),
        ("releasedate", "firstairdate", "publicationdate", "publisheddate"),
    ),
    "genres": (("genres",), ("genre", "listedin", "categories", "category", "genrenames"), ("tags", "genreids")),
    "director": (("director", "directors"), ("directedby", "directornames", "directorname")),
    "cast": (("cast", "actors"), ("starring", "castmembers", "actornames")),
    "plot": (("plot", "overview"), ("description", "synopsis", "summary", "storyline", "plotsummary", "blurb")),
}
INTERACTIONS: Mapping[str, Tiers] = {
    "user": (
        ("user", "userid"),
        (
            *("customerid", "customer", "custid", "profileid", "accountid", "memberid", "reviewerid", "viewerid"),
            *("subscriberid", "visitorid", "personid", "steamid", "listenerid", "readerid", "playerid", "uid"),
        ),
        ("username", "profile", "profilename", "login", "author", "clientid", "deviceid", "sessionid"),
    ),
    "item": (*ITEMS, *TITLES, *NAMED),
    "rating": (
        ("rating", "ratings"),
        (
            *("score", "stars", "overall", "userrating", "userscore", "bookrating", "reviewrating", "reviewscore"),
            *("movierating", "myrating", "myscore", "ratingvalue", "grade"),
        ),
    ),
    "plays": (
        ("plays", "playcount"),
        (
            *("count", "listens", "listencount", "scrobbles", "streams", "views", "viewcount", "watchcount", "clicks"),
            *("purchases", "quantity", "timesplayed", "frequency", "visits", "weight", "interactioncount"),
            *("watchtime", "watchduration", "watchedminutes", "minuteswatched", "minutes", "watchseconds", "msplayed"),
            *("secondsplayed", "hours", "hoursplayed", "playtime", "playtimeforever", "listeningtime", "timespent"),
        ),
    ),
    "time": (
        ("time", "timestamp"),
        (
            *("datetime", "date", "ts", "unixreviewtime", "ratedat", "watchedat", "viewedat", "playedat", "listenedat"),
            *("createdat", "eventtime", "ratingtimestamp", "reviewtime", "reviewdate", "watchdate", "ratingdate"),
            *("eventdate", "daterated", "dateadded", "lastplayed", "updatedat", "utctime"),
        ),
    ),
}
KNOWN = {"catalogue": CATALOGUE, "interactions": INTERACTIONS}
LISTS = ("genres", "director", "cast")
"""Columns whose cells may be lists."""
LOOKS = {
    "year": ("year", "release"),
    "genres": ("genre", "categor"),
    "director": ("direct",),
    "cast": ("cast", "actor", "starring"),
    "plot": ("plot", "descri", "overview", "synops"),
    "rating": ("rating", "score", "stars"),
    "plays": ("play", "listen", "watch", "views", "count"),
    "time": ("time", "date"),
}
"""Parts of names that look like a column which the table does not have."""
SURE = {"id": 3}
"""Tiers of names, two elsewhere, of which two in one table leave a doubt."""
LOOKED_AT = 1000  # columns of a table, for such names
WEIGHED = ("id", "title", "user", "item", "rating", "plays")
"""Columns of which a wrong one among several makes another answer."""
GUESSED = {"item": len(ITEMS) + len(TITLES), "user": 2}
"""Tiers from which on a column is taken by guess: no more than its name suggests it."""


@dataclass(frozen=True)
class Choice:
    """`places`: of each column that is read, its place in the header; `missing`: '' or, after 'the input catalogue',
    what it lacks."""

    places: Mapping[str, int]
    missing: str = ""
    warnings: list[dict[str, str]] = field(default_factory=list)


def plain(name: str) -> str:
    """A name as names are compared."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def choose(table: str, header: Sequence[str], given: Mapping[str, str], other: Sequence[str] = ()) -> Choice:
    """The columns of a table that are read.

    `given`: the caller's params.columns. `other`: the header of the job's other table; an id that both name alike is
    taken before all others, as it joins them.
    """
    names = [plain(name) for name in header]
    index: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        index.setdefault(name, []).append(place)
    shared = {name for tier in ITEMS for name in tier} & {plain(name) for name in other}
    places: dict[str, int] = {}
    said = []
    for role, tiers in KNOWN[table].items():
        if role in given:
            named = _given(given[role], header)
            if named is None:
                return Choice({}, f"has no column {given[role]!r}, which params.columns names as {role}")
            places[role] = named
        elif (found := _found(index, tiers, shared if role in ("id", "item") else set())) and not _instead(role, given):
            tier, candidates = found
            places[role] = candidates[0]
            said += _doubt(role, tier, _rivals(role, index, tiers, candidates), header)
    if "rating" in places and "plays" in places and "plays" not in given:
        said.append(_unused("plays", header[places.pop("plays")], "ratings are used where both are there"))
    missing = _missing(table, places)
    if table == "catalogue" and "id" not in places and "title" in places:
        places["id"] = places["title"]
    return Choice(places, missing, said + _ignored(header, names, places, KNOWN[table]))


def _given(name: str, header: Sequence[str]) -> int | None:
    """The place of a name as it is written, else in any case of letters."""
    exact = [place for place, other in enumerate(header) if other.strip() == name.strip()]
    alike = [place for place, other in enumerate(header) if plain(other) == plain(name) != ""]
    return next(iter((*exact, *alike)), None)


def _instead(role: str, given: Mapping[str, str]) -> bool:
    """Who names one of rating and plays does not want the other."""
    return (role == "plays" and "rating" in given) or (role == "rating" and "plays" in given)


def _found(index: Mapping[str, list[int]], tiers: Tiers, shared: set[str]) -> tuple[int, list[int]] | None:
    """The tier and the places of its names, the first to be taken; None where there are none."""
    for tier, known in enumerate([tuple(shared), *tiers] if shared else tiers):
        places = sorted(place for name in known for place in index.get(name, ()))
        if places:
            return tier - bool(shared), places
    return None


def _rivals(role: str, index: Mapping[str, list[int]], tiers: Tiers, candidates: list[int]) -> list[int]:
    """The candidates, and all others of the names that are as sure."""
    sure = [place for tier in tiers[: SURE.get(role, 2)] for name in tier for place in index.get(name, ())]
    return list(dict.fromkeys([*candidates, *sorted(sure)]))


def _doubt(role: str, tier: int, candidates: list[int], header: Sequence[str]) -> list[dict[str, str]]:
    taken = header[candidates[0]]
    if role in WEIGHED and len(candidates) > 1:
        others = ", ".join(repr(header[place]) for place in candidates[1:4])
        said = f"the column {taken!r} was taken as {role}; {others} could be it too: name the right one in "
        return [warning("column_guessed", said + _example(role, header[candidates[1]]))]
    if tier >= GUESSED.get(role, tier + 1):
        said = f"the column {taken!r} was taken as {role} by guess: if another one names the {role}s, name it in "
        return [warning("column_guessed", said + _example(role, "..."))]
    return []


def _example(role: str, name: str) -> str:
    return f"params.columns, such as {json.dumps({role: name}, ensure_ascii=False)}"


def _unused(role: str, name: str, why: str) -> dict[str, str]:
    said = f"the column {name!r} looks like {role} and is not used ({why}): "
    return warning("columns_ignored", said + f"if it is meant, name it in {_example(role, name)}")


def _ignored(
    header: Sequence[str], names: Sequence[str], places: Mapping[str, int], known: Mapping[str, Tiers]
) -> list[dict[str, str]]:
    """Of columns that look like one which the table does not have."""
    said = []
    for role in (role for role in known if role in LOOKS and role not in places):
        if role in ("rating", "plays") and {"rating", "plays"} & {*places}:
            continue
        alike = [place for place, name in enumerate(names[:LOOKED_AT]) if any(part in name for part in LOOKS[role])]
        alike = [place for place in alike if place not in places.values()]
        said += [_unused(role, header[place], "its name is not one of those known") for place in alike[:1]]
    return said


def _missing(table: str, places: Mapping[str, int]) -> str:
    if table == "catalogue":
        wanted = [] if {"id", "title"} & {*places} else ["id"]
    else:
        wanted = [role for role in ("user", "item") if role not in places]
    if not wanted:
        return ""
    return f"has no column {' and none '.join(wanted)} ({'; '.join(map(_names, wanted))})"


def _names(role: str) -> str:
    """Some of the names by which a column is known; of id and item they are the same."""
    tiers: Tiers = (*ITEMS[:2], TITLES[0]) if role in ("id", "item") else INTERACTIONS[role]
    shown = [name for tier in tiers for name in tier][:12]
    return (
        f"{role} is known as {', '.join((['id'] if role == 'id' else []) + shown)}, ...; params.columns names any other"
    )


assert {*CATALOGUE, *INTERACTIONS} == {*ROLES}
