"""Every private name, text or habit of a library that we lean on: where, why, and what it gains.

An upgrade that breaks one of them fails here first, by name. A trick whose gain is gone goes too:
`python -m benchmarks.upstream` prints the gains (figures below: one core of a machine in use, 2026-11).
"""

import ast
import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from torch import nn

from src.cli.config import ROOT, load_config
from src.errors import InputError

SRC = ROOT / "src"


@dataclass(frozen=True)
class Upstream:
    """A private name: the library's, the file of src that uses it, why, and what is gained over doing without."""

    name: str
    file: str
    reason: str


PRIVATE = [
    Upstream(
        "_current_fx_name",
        "training/lean_module.py",
        "Lightning sets the running hook 44 times a step through nn.Module.__setattr__, which looks for parameters and "
        "modules: 100 of 110 microseconds a step are saved",
    ),
    Upstream("_current_fx_name", "training/plain_step.py", "a metric that is logged within a step names its hook"),
    Upstream(
        "_AutomaticOptimization",
        "training/plain_step.py",
        "no public place for a step without hooks: 145 of 390 microseconds a step are saved",
    ),
    Upstream(
        "_average_model",
        "training/ema.py",
        "WeightAveraging has no public word for its average, which it does not convert to trainer.precision=64-true",
    ),
    Upstream(
        "_internal",
        "sweep/job.py",
        "Hydra reads each config file again for each job of a sweep, and has no public place for a cache: composing a "
        "job takes 0.09 instead of 0.14 s",
    ),
    Upstream(
        "_step_supports_amp_scaling",
        "training/optimizers.py",
        "a fused optimizer unscales gradients in its step, so that Lightning refuses to clip them in mixed precision",
    ),
    Upstream(
        "_compiled_call_impl",
        "dashboard/run_summary.py",
        "no public sign of nn.Module.compile(): TensorBoard's tracer fails on such a module",
    ),
    Upstream(
        "_check_requirement",
        "cli/imports.py",
        "torchmetrics imports scipy.signal, torchvision and matplotlib where it finds them: 3 of 9 s of a start",
    ),
    Upstream(
        "_has_any_global_hook",
        "models/padded_channels.py",
        "torch tells of hooks in private alone: a hook that would see added channels is respected",
    ),
    *(
        Upstream(name, "models/padded_channels.py", "as above")
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ),
    Upstream("_InstanceNorm", "models/structure.py", "torch has no public base of the instance norms"),
    Upstream("_BatchNorm", "models/structure.py", "torch has no public base of the batch norms"),
    Upstream("_BatchNorm", "finetune/method.py", "as above: frozen ones stay in eval mode"),
    Upstream("_ConvNd", "dashboard/activations.py", "torch has no public base of the convolutions"),
    Upstream("_return_value", "sweep/job.py", "JobReturn.return_value raises where we record the error"),
    Upstream("_trial_id", "sweep/study.py", "a job of a search reports to a trial that another process asked for"),
    Upstream("_trial_id", "sweep/optuna_sweeper.py", "as above"),
    Upstream("_processes", "sweep/launcher.py", "loky names no pids: workers outlive a sweep that is killed otherwise"),
    Upstream(
        "_unset_keepalive_if_required",
        "server/http_protocol.py",
        "uvicorn forgets the keep-alive timer of a response that came before its request was complete",
    ),
    Upstream("_exit", "training/ddp.py", "os._exit: the main thread hangs in a collective with a host that is gone"),
    Upstream("_exit", "sweep/launcher.py", "os._exit: a worker whose parent is gone must not run atexit handlers"),
]


def private_names() -> set[tuple[str, str]]:
    """(name, file of src) of every private name in src that src does not define."""
    trees = {str(path.relative_to(SRC)): ast.parse(path.read_text()) for path in SRC.rglob("*.py")}
    own = {"_target_", "_convert_", "_partial_"}  # keys of configs
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                own.add(node.attr)
    found = set()
    for file, tree in trees.items():
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else None
            if isinstance(node, ast.Constant) and node.value == "_current_fx_name":
                name = node.value
            names = [name] if name else []
            if isinstance(node, ast.ImportFrom):
                names += [alias.name for alias in node.names] + (node.module or "").split(".")
            found |= {(n, file) for n in names if n.startswith("_") and not n.startswith("__") and n not in own}
    return found


def test_every_private_name_is_listed_with_its_reason():
    assert private_names() == {(entry.name, entry.file) for entry in PRIVATE}
    assert all(len(entry.reason) > 7 for entry in PRIVATE)


# Lightning


def test_lightning_sets_the_running_hook_on_the_module():
    from lightning.pytorch.trainer import call

    assert "_current_fx_name = hook_name" in inspect.getsource(call._call_lightning_module_hook)


def test_lightning_inspects_the_signature_of_training_step_at_every_step():
    """`training_step.__signature__` saves 13 of 20 microseconds a step."""
    from lightning.pytorch.loops import training_epoch_loop

    from src.training.task import Classifier

    source = inspect.getsource(training_epoch_loop._TrainingEpochLoop._build_kwargs)
    assert "is_param_in_hook_signature(training_step_fx" in source
    stored = Classifier.training_step.__signature__
    del Classifier.training_step.__signature__
    try:
        assert inspect.signature(Classifier.training_step) == stored
    finally:
        Classifier.training_step.__signature__ = stored


def test_lightning_clears_gradients_and_checks_clipping_at_every_step():
    """`optimizer_zero_grad` saves 15 microseconds a step, `configure_gradient_clipping` 6."""
    from lightning.pytorch import LightningModule
    from lightning.pytorch.loops.optimization import automatic

    assert "zero_grad" in inspect.getsource(automatic._AutomaticOptimization._optimizer_zero_grad)
    assert "self.clip_gradients(" in inspect.getsource(LightningModule.configure_gradient_clipping)


def test_lightning_calls_the_hooks_of_the_transfer_by_name():
    """`LeanModule._call_batch_hook` saves 9 microseconds for each of three: Lightning looks up who overrides it."""
    from lightning.pytorch import LightningModule

    called = ("_on_before_batch_transfer", "_apply_batch_transfer_handler")
    source = "".join(inspect.getsource(getattr(LightningModule, name)) for name in called)
    for hook in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"):
        assert f'self._call_batch_hook("{hook}", batch' in source


def test_lightning_makes_its_steps_where_plain_ones_stand(data_root, tmp_path):
    """`PlainStep` takes the place of the loop that makes an optimizer step of a batch, and counts as it does."""
    from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization

    from tests.training.sessions import run

    assert list(inspect.signature(_AutomaticOptimization.run).parameters) == [
        "self",
        "optimizer",
        "batch_idx",
        "kwargs",
    ]
    loop = run(data_root, tmp_path, "trainer.max_steps=2").trainer.fit_loop.epoch_loop.automatic_optimization
    assert isinstance(loop, _AutomaticOptimization) and loop.optim_progress.optimizer_steps == 2


def test_lightning_profiles_every_action_of_a_step():
    """`NoProfiler` saves 46 microseconds a step: a context manager for each of 31 actions."""
    from lightning.pytorch.profilers import PassThroughProfiler, Profiler

    assert PassThroughProfiler.profile is Profiler.profile
    assert hasattr(Profiler.profile, "__wrapped__"), "a generator's context manager, made anew at each call"


def test_lightning_asks_torch_for_nvml():
    """`tune_process` takes the variable away: 30 to 100 microseconds a step on a machine without the driver."""
    code = "import os; os.environ.pop('PYTORCH_NVML_BASED_CUDA_CHECK', None); import lightning.fabric\n"
    code += "print(os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "1"


def test_lightning_counts_batches_and_epochs_where_we_read_and_correct_them(data_root, tmp_path):
    """ImageData and fit read the loop's progress; Checkpoints corrects it where max_steps cuts an epoch short."""
    from src.model_files.checkpoint import read_checkpoint
    from tests.training.sessions import run

    session = run(data_root, tmp_path, "trainer.max_steps=3")
    progress = session.trainer.fit_loop.epoch_loop.batch_progress
    assert progress.total.completed == progress.current.completed == 3
    loop = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["loops"]["fit_loop"]
    assert {"total", "current"} <= set(loop["epoch_progress"])
    assert {"ready", "completed", "processed"} <= set(loop["epoch_progress"]["current"])
    assert loop["epoch_loop.batch_progress"]["is_last_batch"] is False
    assert session.trainer.strategy.lr_scheduler_configs, "the range test empties this list"
    for name in ("datamodule", "fast_dev_run", "callbacks"):  # undeclared, but set
        assert hasattr(session.trainer, name)


def test_weight_averaging_keeps_its_model_and_swaps_in_place():
    from lightning.pytorch.callbacks import WeightAveraging

    assert WeightAveraging()._average_model is None
    assert list(inspect.signature(WeightAveraging._swap_models).parameters) == ["self", "pl_module"]


# torch


def test_a_compiled_module_shows_it():
    model = nn.Linear(1, 1)
    assert model._compiled_call_impl is None
    model.compile()
    assert model._compiled_call_impl is not None


def test_layers_of_every_dimension_have_one_base():
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.instancenorm import _InstanceNorm

    assert all(issubclass(norm, _InstanceNorm) for norm in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d))
    assert all(issubclass(norm, _BatchNorm) for norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm))
    assert all(issubclass(layer, nn.modules.conv._ConvNd) for layer in (nn.Conv1d, nn.Conv2d, nn.Conv3d))


# Hydra


@pytest.mark.parametrize(
    ("override", "text"),
    [("seed=1,2", "add --multirun"), ("model=nothing", "Config search path")],
)
def test_hydra_words_its_errors_as_error_line_expects(override, text):
    with pytest.raises(InputError) as error:
        load_config([override])
    assert text in str(error.value.__cause__)


def test_a_null_group_is_refused_in_known_words():
    with pytest.raises(Exception, match="group override must be a string"):
        load_config(["~data", "data=null"])


def test_a_failed_job_raises_when_its_value_is_read():
    from hydra.core.utils import JobReturn, JobStatus

    result = JobReturn(status=JobStatus.FAILED)
    result.return_value = ValueError("why")
    assert isinstance(result._return_value, ValueError)
    with pytest.raises(ValueError, match="why"):
        _ = result.return_value


def test_hydra_state_can_be_put_back():
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    load_config()
    assert (GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before


# Optuna, loky, uvicorn


def test_optuna_numbers_trials_by_an_id():
    optuna = pytest.importorskip("optuna", reason="the tune extra is not installed")
    study = optuna.create_study()
    asked = study.ask()
    frozen = study.get_trials(deepcopy=False)[asked.number]
    assert optuna.trial.Trial(study, frozen._trial_id).number == asked.number


def test_loky_keeps_its_processes_by_pid():
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

    executor = ProcessPoolExecutor(max_workers=1)
    try:
        assert executor.submit(os.getpid).result() in executor._processes
    finally:
        executor.shutdown()


def test_uvicorn_has_the_parts_of_a_connection_that_we_time():
    pytest.importorskip("uvicorn", reason="the serve extra is not installed")
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    hooks = ("connection_made", "data_received", "on_body", "on_message_begin", "on_message_complete")
    hooks += ("on_response_complete", "send_400_response", "timeout_keep_alive_handler", "_unset_keepalive_if_required")
    hooks += ("on_headers_complete", "resume_writing")
    assert all(callable(getattr(HttpToolsProtocol, name)) for name in hooks)
    state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    config = uvicorn.Config(lambda: None, loop="asyncio")
    config.load()
    connection = HttpToolsProtocol(config, state, {})
    parts = ("connections", "cycle", "pipeline", "loop", "timeout_keep_alive", "timeout_keep_alive_task")
    assert all(hasattr(connection, name) for name in parts)
    assert all(callable(getattr(uvicorn.Server, name)) for name in ("startup", "capture_signals"))
    assert hasattr(uvicorn.Server(config), "server_state")
