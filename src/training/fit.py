"""Run a training session, and the whole of `src.train`: build, fit, write_results."""

import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from src.cli.error_line import CommandExit, error_line
from src.cli.job_record import begin_job, job_started
from src.cli.overrides import command_on, hydra_literal, trust_words
from src.cli.process import tune_process
from src.data.summary import describe_data, write_skipped
from src.errors import InputError, require
from src.files import disk_full, display_path
from src.pictures.inputs import reads_strokes
from src.training.build import Session, ShouldPrune, build
from src.training.ddp import ddp_processes, quiet_other_processes
from src.training.distillation import Distill
from src.training.losses import DivergedError
from src.training.results import write_results
from src.training.semi_supervised import SemiSupervised
from src.training.stop import StopBetweenSteps
from src.training.task_learner import TaskLearner, describe_tasks
from src.training.trainer_state import callbacks_of, is_dry_run

log = logging.getLogger(__name__)


def train(
    cfg: DictConfig,
    overrides: Sequence[str] | None = None,
    should_prune: ShouldPrune | None = None,
    objectives: Sequence[str] = (),
) -> float | None:
    """Build a session, fit it, test the checkpoint that it chose and write everything to the run's folder.

    The arguments are those of `build`. Returns the best validation metric.
    """
    began = time.perf_counter()
    quiet_other_processes()
    session = build(cfg, overrides, should_prune, objectives)
    session.started = job_started() or began
    log.info("%s", summary(session))
    if session.ended:
        done = f"{session.ended['epochs']} epochs, {session.ended['steps']:,} steps"
        log.info("this run has ended (%s): nothing is left to do; a higher trainer.max_epochs trains on", done)
        return session.ended["best_score"]
    begin_job(session.config["model"])
    write_skipped(session.data, session.folder)
    fit(session)
    trainer, checkpoints = session.trainer, session.checkpoints
    if is_dry_run(trainer) or checkpoints is None:
        log.info("nothing was saved, so nothing is tested")
        return None
    if trainer.is_global_zero:
        try:
            write_results(session)
        except (KeyboardInterrupt, CommandExit) as stop:
            message = f"stopped before its results were written; finish with: {_resume_command(session)}"
            raise CommandExit(getattr(stop, "status", 130), message) from None
        log.info("\n%s", next_steps(session))
    return checkpoints.best_score


def fit(session: Session) -> None:
    """Train, from the start or from where `resume_from` stopped; leaves checkpoints and logs in the session's folder.

    Raises CommandExit with the command that resumes the run after Ctrl-C (130), SIGTERM (143) and SIGHUP (129),
    InputError for a loss that is not finite, and where no step was made.
    """
    session.started = session.started or time.perf_counter()
    tune_process()
    trainer, checkpoints, folder = session.trainer, session.checkpoints, session.folder
    stop = next(callback for callback in callbacks_of(trainer) if isinstance(callback, StopBetweenSteps))
    try:
        with ddp_processes(folder, session.overrides or [], trainer.world_size), stop.listening():
            trainer.fit(session.task, session.data, ckpt_path=session.resume_from)
        stopped = stop.signum is not None
    except SystemExit:  # SIGTERMException is one, and Lightning exits where a second Ctrl-C interrupts it
        stopped = True
    except DivergedError as error:
        if checkpoints and checkpoints.last.is_file():
            raise type(error)(f"{error}; the last finite weights are in {display_path(checkpoints.last)}") from None
        raise
    except (InputError, OSError, MisconfigurationException) as error:
        resume = f"; resume with: {_resume_command(session)}" if checkpoints and checkpoints.last.is_file() else ""
        if isinstance(error, OSError) and not disk_full(error):
            raise
        raise InputError(f"{error_line(error)}{resume}") from None
    if stopped:
        saved = checkpoints is not None and checkpoints.last.is_file()
        message = f"resume with: {_resume_command(session)}" if saved else "nothing was saved yet"
        raise CommandExit(stop.status, f"stopped; {message}")
    if not is_dry_run(trainer) and checkpoints is not None:
        steps = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        require(steps > 0, "no step was made: raise trainer.max_epochs, max_steps, max_time or limit_train_batches")
        if trainer.is_global_zero:
            checkpoints.report_late_changes(trainer, session.task)


def _resume_command(session: Session) -> str:
    if session.overrides is None:  # made in Python
        return f"the same overrides and resume_from={hydra_literal(display_path(session.folder))}"
    return command_on(session.folder, "train", "resume_from", *trust_words(session.config["trust"]))


def summary(session: Session) -> str:
    """Network, device, data and seed of a session, as lines for the log; a user's own pictures first."""
    data, model, loss = session.data, session.initial.model, session.task.loss
    count = sum(parameter.numel() for parameter in model.parameters())
    source = session.initial.source
    start = getattr(model, "start", "from scratch") if source is None else f"weights: {source.file}"
    if source is None and session.resume_from:
        start = f"weights: {display_path(session.resume_from)}"
    line = (
        f"{_network_name(session)}, {count:,} parameters, {start}, on {session.trainer.strategy.root_device}; "
        f"data={data.name}: {len(data.train_set):,} images to train, {len(data.val_set):,} to validate; "
        f"seed {session.config['seed']}"
    )
    if isinstance(session.task, SemiSupervised):
        line += f"; beside them {len(session.task.images):,} training images without their labels"
    if isinstance(session.task, TaskLearner):
        line += f"\n{describe_tasks(session.task.continual, data)}"
    if isinstance(loss, Distill):
        line += f"\nteacher: {loss.net.file}, weights of epoch {loss.net.epoch}, {loss.net.views} view(s) of each image"
    return f"{described}\n{line}" if (described := describe_data(data)) else line


def _network_name(session: Session) -> str:
    """LeNet, or Pretrained resnet18."""
    return " ".join(filter(None, (type(session.initial.model).__name__, session.initial.config["model"].get("name"))))


def next_steps(session: Session) -> str:
    """Where the results are, and what to type next."""
    folder, trust = session.folder, trust_words(session.config["trust"])
    lines = [f"{session.seconds:.1f} s; everything is in {display_path(folder)}"]
    if any(isinstance(logger, TensorBoardLogger) for logger in session.trainer.loggers):
        program = f"{display_path(Path(sys.executable).parent)}/tensorboard"
        lines.append(f"  watch     {shlex.join([program, '--logdir', display_path(folder.parent)])}")
    lines.append(f"  evaluate  {command_on(folder, 'evaluate', 'ckpt', *trust)}")
    drawn = reads_strokes(session.data.info.shape, session.config["data"])
    lines.append(f"  {'draw ' if drawn else 'serve'}     {command_on(folder, 'serve', 'ckpt', *trust)}")
    return "\n".join(lines)
