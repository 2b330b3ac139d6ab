"""A search space: each parameter's values in Hydra's sweep syntax as an Optuna distribution."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from src.errors import InputError, require
from src.sweep.study import first_line


@dataclass(frozen=True)
class Parameter:
    """A searched key.

    conditions: parameters or fixed keys, and the values of theirs for which this one is active; {} for always.
    """

    key: str
    distribution: BaseDistribution
    conditions: dict[str, tuple[str, ...]]

    def suggest(self, trial: Trial) -> str:
        """The trial's value, as text."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return str(trial.suggest_categorical(self.key, distribution.choices))
        suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
        low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
        return str(suggest(self.key, low, high, step=step, log=log))

    def is_active(self, values: Mapping[str, str]) -> bool:
        """Whether its conditions hold for these values of the parameters before it."""
        return all(values.get(key) in allowed for key, allowed in self.conditions.items())

    def extremes(self) -> list[str]:
        """Every choice, or both ends of the range, as text."""
        if isinstance(self.distribution, CategoricalDistribution):
            return list(map(str, self.distribution.choices))
        return [str(self.distribution.low), str(self.distribution.high)]


def read_space(params: Mapping[str, object], overrides: Sequence[Override]) -> list[Parameter]:
    """The parameters of a config's `params` and of swept overrides; an override replaces the parameter of its key.

    params: key -> text such as `interval(0.1, 1)`, or {space: text, when: {key: [values]}}.
    Raises InputError if a value cannot be parsed or searched, or depends on a parameter that does not come before it.
    """
    swept = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
    fixed = {override.get_key_element() for override in overrides} - swept.keys()
    space: list[Parameter] = []
    for key, value in params.items():
        if key not in swept and key not in fixed:
            space.append(_read_parameter(key, value, {parameter.key for parameter in space} | swept.keys() | fixed))
    space = [Parameter(key, to_distribution(override), {}) for key, override in swept.items()] + space
    example = "optimizer.lr='tag(log, interval(1e-4, 1e-1))', or hparams_search=lenet"
    require(bool(space), f"nothing is searched: give a space, as {example}")
    return space


def _read_parameter(key: str, value: object, known: set[str]) -> Parameter:
    """known: the keys that its conditions may name."""
    require(not isinstance(value, Mapping) or "space" in value, f"{key}: give space, and when it is searched")
    text, when = (value["space"], value.get("when") or {}) if isinstance(value, Mapping) else (value, {})
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException as error:
        hint = f"({first_line(error)}); interval(0.1, 1) or choice(a, b) can"
        raise InputError(f"{key}={text} cannot be read {hint}") from None
    conditions = {}
    for other, values in when.items():
        require(other in known, f"{key} depends on {other}, which is not searched before it")
        conditions[other] = tuple(map(str, values if isinstance(values, list | tuple) else [values]))
    return Parameter(key, to_distribution(override), conditions)


def to_distribution(override: Override) -> BaseDistribution:
    """Optuna's distribution of a sweep.

    a,b or choice(a, b): categorical. interval(a, b): a float; int(interval(a, b)): an integer; with tag(log, ...)
    uniform on a logarithmic scale. range(a, b, s): a, a + s, ..., below b.
    Raises InputError if the ends are swapped or, on a logarithmic scale, not above 0, and for a single value.
    """
    line = override.input_line or override.get_key_element()
    value = override.value()
    tags = set(getattr(value, "tags", ()))
    require(tags <= {"log"}, f"{line}: the only tag is log, for tag(log, interval(a, b))")
    log = "log" in tags
    require(not log or isinstance(value, IntervalSweep), f"{line}: tag(log, ...) is for an interval")
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        require(low < high, f"{line}: the first end must be below the second")
        require(not log or low > 0, f"{line}: on a logarithmic scale both ends must be above 0")
        if isinstance(low, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep):
        start, stop, step = value.start, value.stop, value.step
        rises = start is not None and stop is not None and step > 0 and start < stop
        require(rises, f"{line}: the range must rise from its first end to its second")
        if all(isinstance(part, int) for part in (start, stop, step)):
            return IntDistribution(start, range(start, stop, step)[-1], step=step)
        last = start + (math.ceil((stop - start) / step - 1e-9) - 1) * step
        return FloatDistribution(float(start), float(last), step=float(step))
    require(isinstance(value, ChoiceSweep), f"{line} has one value only: give interval(a, b) or choice(a, b)")
    choices = tuple(dict.fromkeys(override.sweep_string_iterator()))
    require(len(choices) > 1, f"{line}: the same value twice")
    return CategoricalDistribution(choices)


def grid_points(space: Sequence[Parameter], fixed: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """Every distinct point of a finite space; a point has the active parameters only.

    fixed: values of keys that are not searched. Raises InputError if a parameter has infinitely many values.
    """
    points: dict[frozenset, dict[str, object]] = {}
    for combination in product(*map(_grid_values, space)):
        point, texts = {}, {}
        for parameter, value in zip(space, combination, strict=True):
            if parameter.is_active({**(fixed or {}), **texts}):
                point[parameter.key], texts[parameter.key] = value, str(value)
        points.setdefault(frozenset(texts.items()), point)
    return list(points.values())


def _grid_values(parameter: Parameter) -> Sequence[object]:
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    low, high, step = distribution.low, distribution.high, distribution.step
    infinite = f"hydra.sweeper.sampler=grid: {parameter.key} has infinitely many values"
    require(step is not None and not distribution.log, f"{infinite}; give choice(a, b) or range(a, b)")
    return [low + index * step for index in range(round((high - low) / step) + 1)]
