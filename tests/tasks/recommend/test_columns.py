"""Names of columns: public data sets as they are, names that a caller maps, and doubts that are told."""

import pytest

from tasks.recommend import columns

CATALOGUES = {
    "MovieLens": ("movieId,title,genres", "id=movieId title=title genres=genres"),
    "TMDB": (
        "adult,budget,genres,id,imdb_id,original_title,overview,popularity,release_date,title,vote_average",
        "id=id title=title year=release_date genres=genres plot=overview",
    ),
    "IMDb": (
        "tconst,titleType,primaryTitle,originalTitle,isAdult,startYear,endYear,runtimeMinutes,genres",
        "id=tconst title=primaryTitle year=startYear genres=genres",
    ),
    "Netflix": (
        "show_id,type,title,director,cast,country,date_added,release_year,rating,duration,listed_in,description",
        "id=show_id title=title year=release_year genres=listed_in director=director cast=cast plot=description",
    ),
    "Goodreads": ("book_id,isbn,original_title,title", "id=book_id title=title"),
    "Books": ("ISBN,Book-Title,Year-Of-Publication", "id=ISBN title=Book-Title year=Year-Of-Publication"),
    "Steam": ("app_id,title,date_release", "id=app_id title=title"),
    "Last.fm": ("artistID,name", "id=artistID title=name"),
    "shipped": ("title,year,genres,director,cast,wikidata_id", "id=wikidata_id title=title year=year"),
    "anime": ("anime_id,name,genre,type,episodes", "id=anime_id title=name genres=genre"),
    "title alone": ("Title,Year", "id=Title title=Title year=Year"),
}
INTERACTIONS = {
    "MovieLens": ("userId,movieId,rating,timestamp", "user=userId item=movieId rating=rating time=timestamp"),
    "Amazon": (
        "reviewerID,asin,reviewerName,overall,summary,unixReviewTime",
        "user=reviewerID item=asin rating=overall time=unixReviewTime",
    ),
    "Netflix prize": ("CustomerID,MovieID,Rating,Date", "user=CustomerID item=MovieID rating=Rating time=Date"),
    "Books": ("User-ID,ISBN,Book-Rating", "user=User-ID item=ISBN rating=Book-Rating"),
    "Last.fm": ("userID,artistID,weight", "user=userID item=artistID plays=weight"),
    "Steam": ("user_id,app_id,hours", "user=user_id item=app_id plays=hours"),
    "anime": ("user_id,anime_id,rating", "user=user_id item=anime_id rating=rating"),
    "titles": ("user,title,plays", "user=user item=title plays=plays"),
}


def chosen(table: str, header: str, **more) -> tuple[str, columns.Choice]:
    names = header.split(",")
    choice = columns.choose(table, names, **{"given": {}, **more})
    return " ".join(f"{role}={names[place]}" for role, place in choice.places.items()), choice


@pytest.mark.parametrize("table", ["catalogue", "interactions"])
def test_public_data_sets_are_known_as_they_are(table):
    """Each column, and without a doubt."""
    for name, (header, expected) in (CATALOGUES if table == "catalogue" else INTERACTIONS).items():
        found, choice = chosen(table, header)
        assert {*expected.split()} <= {*found.split()}, name
        codes = [warning["code"] for warning in choice.warnings]
        assert (choice.missing, codes) == ("", ["columns_ignored"] if name == "Steam" and "date" in header else []), (
            name
        )


def test_items_are_known_by_the_same_names_in_both_tables():
    """And each refusal shows some of them."""
    for tier in columns.ITEMS:
        for name in tier:
            assert chosen("catalogue", name)[1].places == {"id": 0}
            assert chosen("interactions", f"user,{name}")[1].places["item"] == 1
    for table, header in (("catalogue", "a,b"), ("interactions", "user,b")):
        missing = chosen(table, header)[1].missing
        assert "itemid, movieid" in missing and "params.columns" in missing


@pytest.mark.parametrize(
    ("table", "header", "taken", "code"),
    [
        ("catalogue", "id,item_id,title", "id=id", "column_guessed"),
        ("catalogue", "id,movieId,title", "id=id", "column_guessed"),
        ("catalogue", "track_id,artist_id,name", "id=track_id", "column_guessed"),
        ("catalogue", "id,title,name", "title=title", "column_guessed"),
        ("catalogue", "id,title,genre_list", "id=id", "columns_ignored"),
        ("interactions", "user_id,customer_id,item", "user=user_id", "column_guessed"),
        ("interactions", "user,id", "item=id", "column_guessed"),
        ("interactions", "session_id,item", "user=session_id", "column_guessed"),
        ("interactions", "user,game", "item=game", "column_guessed"),
        ("interactions", "user,item,rating,score", "rating=rating", "column_guessed"),
        ("interactions", "user,item,views,clicks", "plays=views", "column_guessed"),
        ("interactions", "user,item,rating,plays", "rating=rating", "columns_ignored"),
        ("interactions", "user,item,when_watched_date", "item=item", "columns_ignored"),
    ],
)
def test_a_doubt_is_told_with_the_way_out(table, header, taken, code):
    """One warning: what was taken, what could be meant, and params.columns."""
    found, choice = chosen(table, header)
    assert taken in found.split()
    assert code in [warning["code"] for warning in choice.warnings]
    assert all("params.columns, such as {" in warning["detail"] for warning in choice.warnings)


def test_an_id_that_both_tables_have_joins_them():
    """Of a catalogue with id and movieId, movieId is meant where ratings name it; the doubt is told."""
    found, choice = chosen("catalogue", "id,movieId,title", other=["userId", "movieId", "rating"])
    assert "id=movieId" in found and [warning["code"] for warning in choice.warnings] == ["column_guessed"]
    assert "item=parent_asin" in chosen("interactions", "user_id,asin,parent_asin", other=["parent_asin"])[0]


def test_a_caller_names_any_column():
    """In any case of letters; a name that is not there is refused, and one of rating and plays shuts out the other."""
    found, choice = chosen("interactions", "kunde,film_code,note", given={"user": "Kunde", "item": "film_code"})
    assert (found, choice.missing) == ("user=kunde item=film_code", "")
    assert (
        "'nope', which params.columns names as item"
        in chosen("interactions", "user,x", given={"item": "nope"})[1].missing
    )
    assert "rating" not in chosen("interactions", "user,item,rating,n", given={"plays": "n"})[1].places
    assert "plays" not in chosen("interactions", "user,item,n,plays", given={"rating": "n"})[1].places
