"""Successive halving as a pruner that keeps no state of its own."""

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class Halving(BasePruner):
    """After `first` epochs, and each time twice as many are done, the better half of those that came so far goes on.

    Successive halving without waiting (Li et al. 2018, arXiv:1810.05934). What it says of a trial depends on the
    values that trials have reported, and on nothing else: asked again after an interruption, it says the same, where
    Optuna's own pruner remembers the question and lets the trial go on.
    """

    def __init__(self, first: int = 1):
        self.first = first

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step not in self._rungs(step):
            return False
        there = [t.intermediate_values for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        own = trial.intermediate_values[step]
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        values = [values[step] for values in there if step in values]
        better = sum(sign * value > sign * own for value in values)
        return own != own or better >= max(1, (len(values) + 1) // 2)

    def _rungs(self, last: int) -> set[int]:
        rungs, step = set(), self.first
        while step <= last:
            rungs.add(step)
            step *= 2
        return rungs
