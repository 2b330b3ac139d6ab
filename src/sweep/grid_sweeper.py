"""Grid search: every combination of values. Hydra's sweeper `grid`, the default of -m."""

from collections import defaultdict, deque
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from src.errors import require
from src.sweep.ledger import flatten_space, job_identity, read_params
from src.sweep.sweeper import JobSweeper


class GridSweeper(JobSweeper):
    """Every combination of the values, in the order they are typed; Hydra's choice, range and glob included.

    params: key -> values, for keys that the command line does not set.
    """

    def __init__(self, params: dict[str, str] | None = None):
        self.params = flatten_space(read_params(params))

    def plan(self, overrides: list[Override]) -> None:
        """List the combinations, each as often as it was typed; those already in the ledger keep their numbers."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        typed = {override.get_key_element() for override in overrides}
        untyped = [f"{key}={value}" for key, value in self.params.items() if key not in typed]
        swept = [*parser.parse_overrides(untyped), *overrides]
        grid = {override.get_key_element(): _expand(override) for override in swept}
        self._check_options(grid)
        several = {override.get_key_element() for override in swept if override.is_sweep_override()}
        self.swept_keys = [key.lstrip("+") for key in grid if key in several]
        recorded: dict[frozenset, deque[int]] = defaultdict(deque)
        for number, job in enumerate(self.ledger.jobs):
            recorded[job_identity(job, self.swept_keys)].append(number)
        for job in product(*grid.values()):
            same = recorded[job_identity(job, self.swept_keys)]
            number = same.popleft() if same else len(self.ledger.jobs)
            self.ledger.jobs[number : number + 1] = [list(job)]
        self.total_jobs = len(self.ledger.jobs)

    def _check_options(self, grid: dict[str, list[str]]) -> None:
        """Compose the first job, and each option of a config group once: an unknown one fails before any job runs."""
        first = [words[0] for words in grid.values()]
        self.check_job(first)
        groups = self.config.hydra.runtime.choices
        for index, (key, words) in enumerate(grid.items()):
            for word in words[1:] if key in groups else ():
                self.check_job([*first[:index], word, *first[index + 1 :]])


def _expand(override: Override) -> list[str]:
    """An override as it was typed, or one for each of its values."""
    if not override.is_sweep_override():
        return [override.input_line]
    fix = "give hydra/sweeper=optuna to search an interval"
    require(override.is_discrete_sweep(), f"{override.input_line}: a grid needs a list of values; {fix}")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
