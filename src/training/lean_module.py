"""Lightning's own work in each step, without what has no effect here."""

from typing import Any

from lightning.pytorch import LightningModule
from torch.optim import Optimizer


class LeanModule(LightningModule):
    """A LightningModule that costs a step less; benchmarks/upstream.py prints what each method saves."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets the running hook 44 times a step, which nn.Module's search for parameters makes expensive.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _call_batch_hook(self, hook_name: str, *args: Any) -> Any:
        # Lightning looks three times a batch whether this module or the data module overrides a hook of the transfer.
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # undeclared, but set
        return super()._call_batch_hook(hook_name, *args) if data is None else getattr(data, hook_name)(*args)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_gradient_clipping(self, optimizer: Optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        if gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
