"""A search space: each parameter's values as Hydra's sweep syntax has them, as Optuna's distributions."""

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


@dataclass(frozen=True)
class Parameter:
    """One searched key. when: other parameters and the values of theirs that it exists for; {} for always."""

    key: str
    distribution: BaseDistribution
    when: dict[str, tuple[str, ...]]

    def ask(self, trial: Trial) -> str:
        """Its value in a trial, as an override has it."""
        kind = self.distribution
        if isinstance(kind, CategoricalDistribution):
            return as_word(trial.suggest_categorical(self.key, kind.choices))
        suggest = trial.suggest_int if isinstance(kind, IntDistribution) else trial.suggest_float
        return as_word(suggest(self.key, kind.low, kind.high, step=kind.step, log=kind.log))

    def applies(self, values: Mapping[str, str]) -> bool:
        """Whether it exists beside these values, as text, of the parameters before it."""
        return all(values.get(key) in allowed for key, allowed in self.when.items())

    def corners(self) -> list[str]:
        """Values that stand for all of them, as text: every choice, or both ends."""
        kind = self.distribution
        values = kind.choices if isinstance(kind, CategoricalDistribution) else (kind.low, kind.high)
        return [as_word(value) for value in values]


def as_word(value: object) -> str:
    """A suggested value as an override has it; seventeen digits, so that a number is the same when it is read."""
    return repr(value) if isinstance(value, float) else str(value)


def read_space(params: Mapping[str, object], overrides: Sequence[Override]) -> list[Parameter]:
    """The parameters of a config's `params` and of swept overrides, which go before those of the same key.

    params: key -> text such as `interval(0.1, 1)`, or {space: text, when: {key: [values]}}.
    Raises InputError for what cannot be parsed or searched, or hangs on a parameter that does not come before it.
    """
    swept = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
    fixed = {override.get_key_element() for override in overrides} - swept.keys()
    space: list[Parameter] = []
    parser = OverridesParser.create()
    for key, given in params.items():
        if key in swept or key in fixed:
            continue
        require(not isinstance(given, Mapping) or "space" in given, f"{key}: give space, and when it is searched")
        text, when = (given["space"], given.get("when") or {}) if isinstance(given, Mapping) else (given, {})
        try:
            override = parser.parse_override(f"{key}={text}")
        except HydraException as error:
            line = next((line for line in str(error).splitlines() if line.strip()), "")
            raise InputError(f"{key}={text} cannot be read ({line}); interval(0.1, 1) or choice(a, b) can") from None
        allowed = {}
        for other, values in when.items():
            known = {parameter.key for parameter in space} | swept.keys() | fixed
            require(other in known, f"{key} hangs on {other}, which is not searched before it")
            allowed[other] = tuple(map(str, values if isinstance(values, list | tuple) else [values]))
        space.append(Parameter(key, distribution_of(override), allowed))
    space = [Parameter(key, distribution_of(override), {}) for key, override in swept.items()] + space
    require(
        bool(space), "nothing is searched: give a space, as optimizer.lr='tag(log, interval(1e-4, 1e-1))', "
        "or hparams_search=lenet"
    )  # fmt: skip
    return space


def distribution_of(override: Override) -> BaseDistribution:
    """Optuna's distribution of a sweep.

    a,b or choice(a, b): one of them. interval(a, b): a real number; int(interval(a, b)) a whole one; with tag(log, ...)
    even on a logarithmic scale. range(a, b, s): a, a + s, ..., below b.
    Raises InputError for ends that are swapped or, on a logarithmic scale, not above 0, and for a single value.
    """
    line = override.input_line or override.get_key_element()
    value = override.value()
    tags = set(getattr(value, "tags", ()))
    require(tags <= {"log"}, f"{line}: the only tag is log, for tag(log, interval(a, b))")
    logarithmic = "log" in tags
    require(not logarithmic or isinstance(value, IntervalSweep), f"{line}: tag(log, ...) is for an interval")
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        whole = isinstance(low, int)
        require(low < high, f"{line}: the first end must be below the second")
        require(not logarithmic or low > 0, f"{line}: on a logarithmic scale both ends are above 0")
        if whole:
            return IntDistribution(low, high, log=logarithmic)
        return FloatDistribution(float(low), float(high), log=logarithmic)
    if isinstance(value, RangeSweep):
        start, stop, step = value.start, value.stop, value.step
        require(start is not None and stop is not None and step > 0 and start < stop, f"{line}: from below to above")
        if all(isinstance(part, int) for part in (start, stop, step)):
            last = int(start) + (math.ceil((stop - start) / step) - 1) * int(step)
            return IntDistribution(int(start), last, step=int(step))
        last = start + (math.ceil((stop - start) / step - 1e-9) - 1) * step
        return FloatDistribution(float(start), float(last), step=float(step))
    require(isinstance(value, ChoiceSweep), f"{line} has one value only: nothing to search; or interval(), choice()")
    choices = tuple(dict.fromkeys(override.sweep_string_iterator()))
    require(len(choices) > 1, f"{line}: the same value twice")
    return CategoricalDistribution(choices)


def grid_points(space: Sequence[Parameter], fixed: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """Every point of a space that has finitely many, beside what is fixed. Raises InputError for one that has not."""
    points: dict[frozenset, dict[str, object]] = {}
    for point in product(*map(_values, space)):
        values: dict[str, object] = {}
        words: dict[str, str] = {}
        for parameter, value in zip(space, point, strict=True):
            if parameter.applies({**(fixed or {}), **words}):
                values[parameter.key], words[parameter.key] = value, as_word(value)
        points.setdefault(frozenset(words.items()), values)
    return list(points.values())


def _values(parameter: Parameter) -> Sequence[object]:
    kind = parameter.distribution
    if isinstance(kind, CategoricalDistribution):
        return kind.choices
    endless = kind.log or kind.step is None
    require(
        not endless, f"hydra.sweeper.sampler=grid: {parameter.key} has endless values; give choice(a, b) or range(a, b)"
    )
    return [kind.low + place * kind.step for place in range(round((kind.high - kind.low) / kind.step) + 1)]
