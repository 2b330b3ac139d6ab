"""Every combination of values. Hydra's sweeper `grid`, which -m takes unless another is given."""

from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from src.errors import require
from src.sweep.ledger import flat, identity
from src.sweep.sweeper import JobSweeper


class GridSweeper(JobSweeper):
    """Every combination of the values given, in the order they are typed; Hydra's choice, range and glob too.

    params: values to sweep where the command line gives none for a key.
    """

    def __init__(self, params: dict[str, str] | None = None):
        self.params = flat(params or {})

    def plan(self, overrides: list[Override]) -> None:
        """List the combinations; those that the ledger has keep their numbers."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        given = {override.get_key_element() for override in overrides}
        more = parser.parse_overrides([f"{key}={value}" for key, value in self.params.items()])
        words: dict[str, list[str]] = {}
        for override in [*(each for each in more if each.get_key_element() not in given), *overrides]:
            words[override.get_key_element()] = _words(override)
        first = [some[0] for some in words.values()]
        self.check(first)
        groups = self.config.hydra.runtime.choices
        for place, (key, some) in enumerate(words.items()):
            for word in some[1:] if key in groups else ():  # an option that does not exist; each once
                self.check([*first[:place], word, *first[place + 1 :]])
        self.varied = [key.lstrip("+") for key, some in words.items() if len(some) > 1]
        known = {identity(job): number for number, job in enumerate(self.ledger.jobs)}
        for job in product(*words.values()):
            number = known.setdefault(identity(job), len(self.ledger.jobs))
            self.ledger.jobs[number : number + 1] = [list(job)]
        self.total = len(self.ledger.jobs)


def _words(override: Override) -> list[str]:
    """An override as it was typed, or one for each of its values."""
    if not override.is_sweep_override():
        return [override.input_line]
    require(
        override.is_discrete_sweep(),
        f"{override.input_line}: an interval has no list of values; give hydra/sweeper=optuna to search it",
    )
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
