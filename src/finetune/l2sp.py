"""L2-SP: weight decay towards the source model instead of towards 0."""

from torch import Tensor, nn

from src.errors import number
from src.finetune.method import Method, head_ids


class L2SP(Method):
    """Every weight trains, decaying towards its initial value; a fresh head towards 0 (Li et al. 2018,
    arXiv:1802.01483).

    alpha: strength of the decay towards the initial values. beta: of the decay of a fresh head towards 0.
    """

    needs_start = True

    def __init__(self, alpha: float = 0.01, beta: float = 0.01, **options):
        super().__init__(**options)
        self.alpha = number("finetune.alpha", alpha, 0)
        self.beta = number("finetune.beta", beta, 0)
        self._initial: list[Tensor] = []

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        self._initial = [p.detach().clone() for p in model.parameters()]
        return super().adapt(model, shape, fresh_head)

    def penalty(self, model: nn.Module) -> Tensor | float:
        if not (self.alpha or self.beta):
            return 0.0
        head = head_ids(model) if self.fresh_head else set()
        total: Tensor | float = 0.0
        for index, (parameter, initial) in enumerate(zip(model.parameters(), self._initial, strict=True)):
            if initial.device != parameter.device:
                self._initial[index] = initial = initial.to(parameter.device)
            rate, change = (self.beta, parameter) if id(parameter) in head else (self.alpha, parameter - initial)
            total = total + rate / 2 * change.square().sum()
        return total
