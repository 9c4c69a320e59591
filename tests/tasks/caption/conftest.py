"""What the tests of pictures share."""

import pytest


@pytest.fixture
def saved(tmp_path):
    """Saves a picture and returns its path."""

    def save(picture, name="picture.png", **options):
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save
