"""Search spaces read from Hydra's sweep syntax."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.errors import InputError


def space(params, *overrides):
    from src.sweep.space import read_space

    return read_space(params, OverridesParser.create().parse_overrides(list(overrides)))


def test_hydra_syntax_becomes_distributions():
    pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    params = {
        "a": "interval(0, 1)", "b": "tag(log, interval(1e-4, 0.1))", "c": "int(interval(2, 8))", "d": "range(1, 10, 3)",
        "e": "choice(x, y)", "f": "range(0.0, 1.0, 0.25)", "g": "int(tag(log, interval(1, 64)))", "h": "true,false",
    }  # fmt: skip
    found = {parameter.key: parameter.distribution for parameter in space(params)}
    assert found == {
        "a": FloatDistribution(0, 1), "b": FloatDistribution(1e-4, 0.1, log=True), "c": IntDistribution(2, 8),
        "d": IntDistribution(1, 7, step=3), "e": CategoricalDistribution(("x", "y")),
        "f": FloatDistribution(0, 0.75, step=0.25), "g": IntDistribution(1, 64, log=True),
        "h": CategoricalDistribution(("True", "False")),
    }  # fmt: skip


def test_overrides_replace_parameters_of_a_file():
    pytest.importorskip("optuna")
    found = space({"a": "interval(0, 1)", "b": "interval(0, 1)", "c": "1,2"}, "a=interval(2, 3)", "b=0.5")
    assert {parameter.key for parameter in found} == {"a", "c"}
    assert next(parameter for parameter in found if parameter.key == "a").distribution.low == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": "interval(1, 0)"}, "first end must be below"),
        ({"a": "range(5, 1)"}, "must rise"),
        ({"a": "tag(log, interval(0, 1))"}, "both ends must be above 0"),
        ({"a": "interval(1"}, "cannot be read"),
        ({"a": "0.5"}, "one value only"),
        ({"a": "choice(x, x)"}, "the same value twice"),
        ({"a": {"space": "choice(x, y)", "when": {"b": "z"}}}, "depends on b, which is not searched before it"),
        ({}, "nothing is searched"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(params, message):
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match=message):
        space(params)


@pytest.mark.parametrize("text", ["tag(lgo, interval(1, 2))", "tag(log, choice(a, b))", "tag(log, range(1, 5))"])
def test_unknown_and_misplaced_tags_are_refused(text):
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match="tag"):
        space({"a": text})


def test_a_grid_leaves_out_inactive_parameters():
    pytest.importorskip("optuna")
    from src.sweep.space import grid_points

    params = {"o": "choice(a, b)", "m": {"space": "range(0, 3)", "when": {"o": "b"}}}
    assert grid_points(space(params)) == [{"o": "a"}, *({"o": "b", "m": place} for place in range(3))]
    with pytest.raises(InputError, match="infinitely many values"):
        grid_points(space({"x": "interval(0, 1)"}))


def test_conditions_of_a_grid_see_fixed_values():
    pytest.importorskip("optuna")
    from src.sweep.space import grid_points

    params = {"m": {"space": "range(0, 3)", "when": {"o": "b"}}}
    found = space(params, "o=b")
    assert grid_points(found, {"o": "b"}) == [{"m": place} for place in range(3)]
