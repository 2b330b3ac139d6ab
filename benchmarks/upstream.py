"""What each trick around a library's internals gains (tests/test_upstream.py lists them): python -m benchmarks.upstream

Microseconds of one training step's worth of calls, without and with the trick, the best of repeats that take turns.
"""

import timeit

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.models.lenet import LeNet
from src.training.callbacks import NoProfiler
from src.training.task import Classifier

HOOKS, PROFILED, REPEATS, NUMBER = 44, 31, 9, 200  # hooks and profiled actions of one step of Lightning 2.6


class Plain(LightningModule):
    """A task without tricks."""

    def training_step(self, batch, batch_idx):
        """Nothing."""


def micros(*functions) -> list[float]:
    """The best time of each, microseconds, measured in turns."""
    times = [[] for _ in functions]
    for _ in range(REPEATS):
        for spent, function in zip(times, functions, strict=True):
            spent.append(timeit.timeit(function, number=NUMBER) / NUMBER * 1e6)
    return [min(spent) for spent in times]


def main() -> None:
    """Print a row per trick."""
    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,))
    task, plain = Classifier(LeNet(info.shape, info.num_classes), info), Plain()
    task.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    task.trainer.strategy.connect(task)
    data = ImageData("digits")
    task.trainer._data_connector.attach_data(task, datamodule=data)
    batch, device = (torch.zeros(4), torch.zeros(4)), (torch.device("cpu"),)
    optimizer = torch.optim.AdamW(task.model.parameters(), fused=True)

    def set_hook(setter) -> None:
        for _ in range(HOOKS):
            setter(task, "_current_fx_name", "training_step")

    def transfer(call_hook) -> None:
        for hook in ("on_before_batch_transfer", "transfer_batch_to_device"):
            call_hook(task, hook, batch, *device[: hook.startswith("transfer")], 0)

    def profile(profiler) -> None:
        for _ in range(PROFILED):
            with profiler.profile("action"):
                pass

    no_profiler, pass_through = NoProfiler(), PassThroughProfiler()
    rows = {
        "Classifier.__setattr__": (
            lambda: set_hook(LightningModule.__setattr__), lambda: set_hook(Classifier.__setattr__)
        ),
        "_call_batch_hook": (
            lambda: transfer(LightningModule._call_batch_hook), lambda: transfer(Classifier._call_batch_hook)
        ),
        "training_step.__signature__": (
            lambda: is_param_in_hook_signature(plain.training_step, "batch_idx", min_args=2),
            lambda: is_param_in_hook_signature(task.training_step, "batch_idx", min_args=2),
        ),
        "optimizer_zero_grad": (
            lambda: LightningModule.optimizer_zero_grad(task, 0, 0, optimizer),
            lambda: task.optimizer_zero_grad(0, 0, optimizer),
        ),
        "configure_gradient_clipping": (
            lambda: LightningModule.configure_gradient_clipping(task, optimizer),
            lambda: task.configure_gradient_clipping(optimizer),
        ),
        "NoProfiler": (lambda: profile(pass_through), lambda: profile(no_profiler)),
    }  # fmt: skip
    print(f"{'per training step':<30}{'without':>9}{'with':>9}{'gain':>9}   µs")
    for name, sides in rows.items():
        without, with_it = micros(*sides)
        print(f"{name:<30}{without:>9.1f}{with_it:>9.1f}{without - with_it:>9.1f}")


if __name__ == "__main__":
    main()
