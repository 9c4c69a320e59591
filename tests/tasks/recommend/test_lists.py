"""Genres and names: parted at the marks that the column really has."""

import pytest

from tasks.recommend import lists

PARTED = {
    "bars": (["Drama|War", "War"], [("Drama", "War"), ("War",)]),
    "commas": (["Comedy, Romance", "Drama, Comedy"], [("Comedy", "Romance"), ("Drama", "Comedy")]),
    "semicolons": (["Action; War", "War"], [("Action", "War"), ("War",)]),
    "slashes": (
        ["Action / War", "War/Drama", "Drama/Action"],
        [("Action", "War"), ("War", "Drama"), ("Drama", "Action")],
    ),
    "a genre with a slash": (["Action/Adventure", "Drama"], [("Action/Adventure",), ("Drama",)]),
    "a genre with an ampersand": (
        ["Sci-Fi & Fantasy, War", "War, Drama"],
        [("Sci-Fi & Fantasy", "War"), ("War", "Drama")],
    ),
    "bars before commas": (["War, Old|Drama", "Drama|X"], [("War, Old", "Drama"), ("Drama", "X")]),
    "one sentence": (["Rain, and snow", "Sun"], [("Rain, and snow",), ("Sun",)]),
    "JSON": (['["War", "Drama"]', "[]"], [("War", "Drama"), ()]),
    "JSON objects": (['[{"id": 18, "name": "Drama"}]', '{"name": "War"}'], [("Drama",), ("War",)]),
    "Python": (["['War', 'Drama']", "[{'id': 18, 'name': 'Drama'}]"], [("War", "Drama"), ("Drama",)]),
    "numbers": (["[28, 12]", "[28]"], [("28", "12"), ("28",)]),
    "nothing": (["(no genres listed)", "nan"], [(), ()]),
    "no list": (["[War", "Drama"], [("[War",), ("Drama",)]),
    "lists in lists": (['[["War"]]', "[null]"], [None, ()]),
}
PEOPLE = {
    "full names": (["Al Pacino, Bo Derek", "Bo Derek"], [("Al Pacino", "Bo Derek"), ("Bo Derek",)]),
    "junior": (["Sammy Davis, Jr., Al Pacino", "Bo Derek"], [("Sammy Davis, Jr.", "Al Pacino"), ("Bo Derek",)]),
    "last name first": (["Coen, Joel", "Coen, Ethan"], [("Coen, Joel",), ("Coen, Ethan",)]),
    "last name first, bars": (["Coen, Joel|Coen, Ethan", "Hill, G"], [("Coen, Joel", "Coen, Ethan"), ("Hill, G",)]),
    "a band": (["AC/DC", "Simon/Garfunkel"], [("AC/DC",), ("Simon/Garfunkel",)]),
}


@pytest.mark.parametrize("case", [*PARTED, *PEOPLE])
def test_cells_are_parted_as_their_column_is(case):
    """Names that hold a mark themselves stay whole where the column shows it; None is no list of names."""
    cells, expected = {**PARTED, **PEOPLE}[case]
    found = lists.parted(cells, people=case in PEOPLE)
    assert [found[cell] for cell in cells] == expected


def test_a_list_as_deep_as_it_is_long_is_no_list():
    """Neither JSON's nor Python's parser breaks."""
    cell = "[" * 90_000
    assert lists.parted([cell]) == {cell: (cell,)}
