"""Fine-tuning on a leash: every weight is drawn to where it started."""

from torch import Tensor, nn

from src.errors import is_number, require
from src.finetune.method import Method
from src.models.structure import head_of


class L2SP(Method):
    """Every weight trains, drawn to where it started; a fresh head to 0 (Li et al. 2018, arXiv:1802.01483).

    alpha: strength towards the start; beta: towards 0, of a head that starts afresh.
    """

    def __init__(self, alpha: float = 0.01, beta: float = 0.01, **rates: float):
        super().__init__(**rates)
        for key, value in (("alpha", alpha), ("beta", beta)):
            require(is_number(value) and value >= 0, f"finetune.{key}={value}: 0 or more")
        self.alpha, self.beta = alpha, beta
        self._start: list[Tensor] = []

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        self._start = [p.detach().clone() for p in model.parameters()]
        return super().adapt(model, shape, fresh_head)

    def penalty(self, model: nn.Module) -> Tensor:
        head = {id(p) for p in head_of(model)[1].parameters()} if self.fresh_head else set()
        total = 0.0
        for place, (parameter, start) in enumerate(zip(model.parameters(), self._start, strict=True)):
            if start.device != parameter.device:
                self._start[place] = start = start.to(parameter.device)
            if id(parameter) in head:
                total = total + self.beta / 2 * parameter.square().sum()
            else:
                total = total + self.alpha / 2 * (parameter - start).square().sum()
        return total
