"""Values in errors stand as a user typed them."""

import pytest

from src.errors import InputError, boolean, choice, duration, number, positive_int


@pytest.mark.parametrize(
    ("check", "value", "told"),
    [
        (positive_int, None, "key=null: a whole number, at least 1"),
        (positive_int, True, "key=true: "),
        (number, False, "key=false: a number"),
        (boolean, None, "key=null: true or false"),
        (lambda key, value: choice(key, value, ("a", "b")), None, "key=null: one of a, b"),
        (duration, None, "key=null: seconds"),
        (positive_int, "two", "key=two: "),
    ],
)
def test_a_value_is_named_as_it_is_typed(check, value, told):
    with pytest.raises(InputError, match=f"^{told}"):
        check("key", value)
