"""index=<file> of src.explain."""

import pytest

from src.errors import InputError
from src.explain import rows_of_files

FILES = ("a b/1.png", "ä.png", "7")


def test_files_stand_for_their_rows():
    assert rows_of_files("ä.png", FILES) == [1]
    assert rows_of_files(["ä.png", 2, "a b/1.png"], FILES) == [1, 2, 0]
    assert rows_of_files(1, FILES) == 1
    assert rows_of_files([1], None) == [1]
    with pytest.raises(InputError, match=r"index=c.png: no picture of this split; .* such as a b/1.png"):
        rows_of_files(["c.png"], FILES)
