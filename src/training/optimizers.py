"""Parameter groups, and Muon beside AdamW."""

import inspect
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from src.errors import InputError, boolean, fraction, number, printable, require
from src.finetune.closed_form import ClosedForm
from src.finetune.method import Method

BELOW_ONE = ("momentum", "betas")  # decays of running means


def lr_and_weight_decay(make_optimizer: Callable) -> tuple[float, float]:
    """lr and weight_decay of an optimizer's partial, as Hydra makes it. Raises InputError for a negative one."""
    options = getattr(make_optimizer, "keywords", {})
    lr, decay = options.get("lr", 1e-3), options.get("weight_decay", 0.0)
    return number("optimizer.lr", lr, least=0), number("optimizer.weight_decay", decay, least=0)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: matrices and kernels with `weight_decay`, biases and norms without."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def trained_groups(model: nn.Module, method: Method | None, make_optimizer: Callable) -> list[dict] | None:
    """What a fine-tuning method trains of a network, or else all of it; None for a head solved in closed form."""
    lr, decay = lr_and_weight_decay(make_optimizer)
    if isinstance(method, ClosedForm):
        return None
    return method.parameter_groups(model, lr, decay) if method else parameter_groups(model, decay)


def new_optimizer(make_optimizer: Callable, groups: list[dict], clipped: bool = False) -> Optimizer:
    """The optimizer of these parameter groups. Raises InputError if it refuses its arguments.

    clipped: whether gradients are clipped before its steps.
    """
    try:
        optimizer = make_optimizer(groups)
    except InputError:
        raise
    except Exception as error:  # a user's own may raise anything
        raise InputError(f"optimizer refused its arguments ({printable(error, 300)}): see conf/optimizer") from None
    require(isinstance(optimizer, Optimizer), f"optimizer: {type(optimizer).__name__} is no torch.optim.Optimizer")
    if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["fused"]:
        optimizer.register_step_pre_hook(_start_momentum)
    if clipped and hasattr(optimizer, "_step_supports_amp_scaling"):  # a fused one would unscale them after that
        optimizer._step_supports_amp_scaling = False
    return optimizer


def _start_momentum(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
    """Give parameters that are trained from now on, beside others, a momentum of zero.

    torch's fused SGD starts the momenta of a group together, and fails where only some are there.
    """
    for group in optimizer.param_groups:
        started = [p in optimizer.state for p in group["params"]]
        if group["momentum"] and any(started) and not all(started):
            for parameter, has_momentum in zip(group["params"], started, strict=True):
                if not has_momentum and parameter.requires_grad:  # gradients come within the step, from its closure
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def check_optimizer(make_optimizer: Callable, make_scheduler: Callable) -> None:
    """Raise InputError for arguments that the optimizer or the scheduler refuses, by building both for one layer."""
    _, weight_decay = lr_and_weight_decay(make_optimizer)
    _check_arguments(make_optimizer)
    maker = getattr(make_optimizer, "func", make_optimizer)
    closure = inspect.signature(getattr(maker, "step", maker)).parameters.get("closure")
    repeats = closure is not None and closure.default is inspect.Parameter.empty
    name = getattr(maker, "__name__", "it")
    require(not repeats, f"optimizer: {name} computes the loss several times a step, and training here does it once")
    layer = nn.Linear(1, 1)
    optimizer = new_optimizer(make_optimizer, parameter_groups(layer, weight_decay))
    try:
        make_scheduler(optimizer, total_steps=1000)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"scheduler refused its arguments ({printable(error, 300)}): see conf/scheduler") from None
    _try_step(layer, optimizer)


def _try_step(layer: nn.Module, optimizer: Optimizer) -> None:
    """Raise InputError for an optimizer that cannot step from gradients alone, as training here makes its steps."""
    name = type(optimizer).__name__
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    try:
        with torch.random.fork_rng(devices=[]):
            optimizer.step()
    except Exception as error:
        raise InputError(f"optimizer: {name} cannot be used: {printable(error, 200)}; give another") from None


def _check_arguments(make_optimizer: Callable) -> None:
    """Raise InputError for an argument of another name or type than the optimizer's own constructor has."""
    maker, typed = getattr(make_optimizer, "func", make_optimizer), getattr(make_optimizer, "keywords", {})
    parameters = inspect.signature(maker).parameters
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name not in ("params", "self")]
    for name, value in typed.items():
        key = f"optimizer.{name}"
        require(name in known, f"{key} is not known to {maker.__name__}, which takes {', '.join(known)}")
        default = parameters[name].default
        if isinstance(default, bool):
            boolean(key, value)
        elif isinstance(default, tuple):
            fits = isinstance(value, list | tuple) and len(value) == len(default)
            require(fits, f"{key}={value}: a list of {len(default)} numbers, as {list(default)}".replace("'", ""))
            for entry in value:
                _check_number(key, name, entry)
        elif isinstance(default, int | float):
            _check_number(key, name, value)


def _check_number(key: str, name: str, value: object) -> None:
    if name in BELOW_ONE:
        fraction(key, value, one=False)
    else:
        number(key, value)


class MuonAdamW(Optimizer):
    """torch's Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) on matrices, AdamW on everything else.

    lr: of both, as Muon's updates are scaled to AdamW's size. momentum: of Muon. betas: of AdamW. Two-dimensional
    parameters go to Muon; kernels of convolutions, biases and norms to AdamW.
    """

    def __init__(
        self,
        params: Iterable[dict],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        fraction("optimizer.momentum", momentum, one=False)
        matrices: list[dict] = []
        others: list[dict] = []
        for group in params:
            options = {"lr": group.get("lr", lr), "weight_decay": group.get("weight_decay", weight_decay)}
            for is_matrix, groups in ((True, matrices), (False, others)):
                selected = [p for p in group["params"] if (p.ndim == 2) == is_matrix]
                if selected:
                    groups.append({"params": selected, **options})
        muon = (
            torch.optim.Muon(matrices, lr=lr, momentum=momentum, adjust_lr_fn="match_rms_adamw") if matrices else None
        )
        adamw = torch.optim.AdamW(others, lr=lr, betas=betas, fused=True) if others else None
        self.parts = [part for part in (muon, adamw) if part is not None]
        super().__init__([{"params": g["params"]} for part in self.parts for g in part.param_groups], {"lr": lr})
        # The groups themselves, not copies: a schedule that sets a rate sets it in both optimizers.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # overloads
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
