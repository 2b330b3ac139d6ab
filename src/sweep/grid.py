"""Every combination of values. Hydra's sweeper `grid`, which -m takes unless another is given."""

from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from src.errors import require
from src.sweep.jobs import JobSweeper


class GridSweeper(JobSweeper):
    """Every combination of the values given, in the order they are typed; Hydra's choice, range and glob too.

    params: values to sweep where the command line gives none for a key.
    """

    def __init__(self, params: dict[str, str] | None = None):
        self.params = dict(params or {})

    def plan(self, overrides: list[Override]) -> None:
        """List the combinations; those that the ledger has keep their numbers."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        given = {override.get_key_element() for override in overrides}
        more = parser.parse_overrides([f"{key}={value}" for key, value in self.params.items()])
        values: dict[str, list[str]] = {}
        for override in [*(each for each in more if each.get_key_element() not in given), *overrides]:
            values[override.get_key_element()] = _listed(override)
        first = [f"{key}={some[0]}" if "=" not in some[0] else some[0] for key, some in values.items()]
        self.check(first)
        for place, (key, some) in enumerate(values.items()):
            for value in some[1:]:  # each value once, not each combination: hundreds of jobs are checked in seconds
                self.check([*first[:place], f"{key}={value}", *first[place + 1 :]])
        self.varied = [key for key, some in values.items() if len(some) > 1]
        known = {frozenset(words) for words in self.ledger.jobs}
        for combination in product(*values.values()):
            words = [f"{key}={value}" for key, value in zip(values, combination, strict=True)]
            if frozenset(words) not in known:
                known.add(frozenset(words))
                self.ledger.jobs.append(words)
        self.total = len(self.ledger.jobs)


def _listed(override: Override) -> list[str]:
    """The values of an override as text."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    require(
        override.is_discrete_sweep(),
        f"{override.input_line}: an interval has no list of values; give hydra/sweeper=optuna to search it",
    )
    return list(override.sweep_string_iterator())
