"""The results of a finished run: results.json, the test of the chosen epoch, figures, the final metrics in the log."""

import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from src.dashboard.run_summary import write_run_summary
from src.evaluation.calibration import fit_temperature
from src.evaluation.continual import task_metrics, tasks_report, write_task_results
from src.evaluation.evaluate import compute_metrics, latency_ms, metrics_table, predict
from src.evaluation.forgetting import forgetting_table, measure_forgetting
from src.evaluation.monitor import TASK_METRICS
from src.evaluation.predictions import FOLD_FILE, PREDICTIONS, write_predictions
from src.files import write_json
from src.inference.model import InferenceModel
from src.model_files.checkpoint import load_model, write_temperature
from src.model_files.trust import trusted
from src.training.build import Session
from src.training.callbacks import PruningCallback
from src.training.checkpoints import Checkpoints
from src.training.continual import measure_tasks
from src.training.distillation import Distill
from src.training.semi_supervised import SemiSupervised
from src.training.task_learner import TaskLearner
from src.training.trainer_state import callbacks_of

log = logging.getLogger(__name__)


def write_results(session: Session) -> dict:
    """Fit the temperature, test the chosen epoch once unless test=false, log the final metrics, write results.json.

    Returns what results.json holds. A run that its search pruned is neither calibrated nor tested.
    """
    trainer, checkpoints = session.trainer, session.checkpoints
    if checkpoints is None:
        raise ValueError("a session without checkpoints has no results: trainer.enable_checkpointing=true")
    pruned = any(isinstance(callback, PruningCallback) and callback.pruned for callback in callbacks_of(trainer))
    path = checkpoints.best if checkpoints.best.is_file() else checkpoints.last
    with trusted(session.config.get("trust")):
        net = load_model(path)
    if not (pruned or net.info.output.is_number):
        _calibrate(session, net, path)
    results = _training_results(session, checkpoints, net, path)
    if pruned:
        results["pruned"] = True
    figures = {}
    if session.config["test"] and not pruned:
        figures = _test(session, net, results, path)
    if isinstance(session.task, TaskLearner):
        with trusted(session.config.get("trust")):
            results["continual"] = measure_tasks(session.task, _device(session), session.config["test"], path)
        write_task_results(session.folder, results["continual"], session.config["figures"])
        for split in {"val", "test"} & results["continual"].keys():
            results[split] |= task_metrics(results["continual"][split])
    _log_final_metrics(session, checkpoints, net, results, figures)
    for part in (results, results.get("transfer")):
        if part is not None:
            part["seconds"] = round(session.seconds, 2)
    write_json(session.folder / "results.json", results)  # last: a run that has it has ended
    if "test" in results:
        chosen_by = _chosen_by(checkpoints, path)
        test = {name: value for name, value in results["test"].items() if name not in TASK_METRICS}
        log.info("\ntest split, weights of epoch %d (%s):\n%s", net.epoch, chosen_by, metrics_table(test))
    if "continual" in results:
        log.info("\n%s", tasks_report(results["continual"]))
    if "transfer" in results:
        log.info("\n%s", forgetting_table(results["transfer"]))
    return results


def _calibrate(session: Session, net: InferenceModel, path: Path) -> None:
    """Store the temperature of the validation split in the checkpoint; with folds, also its predictions."""
    data = session.data
    logits, labels = _validation_predictions(session, net, path)
    if data.folds is not None:
        index, names = data.val_set.indices.numpy(), data.val_set.names
        arrays = {"index": index, "labels": labels.numpy(), "logits": logits.numpy()}
        arrays |= {} if names is None else {"files": np.array(names)}  # NumPy keeps the name file for itself
        arrays["class_names"] = np.array(net.info.class_names)
        np.savez_compressed(session.folder / FOLD_FILE, **arrays)  # type: ignore[arg-type]  # a flag has another type
    temperature = fit_temperature(logits, labels)
    if temperature is not None:
        net.temperature, net.digest = temperature, write_temperature(path, temperature)


def _validation_predictions(session: Session, net: InferenceModel, path: Path) -> tuple[Tensor, Tensor]:
    """Logits and labels of the validation split: those of the epoch's own validation, where they would be the same."""
    trainer, data, checkpoints = session.trainer, session.data, session.checkpoints
    assert checkpoints is not None  # `write_results` refuses
    made = checkpoints.best_predictions if path == checkpoints.best else None
    same = net.views == 1 and session.initial.method is None and not session.config["compile"]
    same = same and trainer.world_size == 1 and type(trainer.precision_plugin) is Precision
    if made is not None and same and len(made[1]) == len(data.val_set):
        return made[0].cpu(), made[1].cpu()
    return predict(net, data.val_dataloader(), _device(session))


def _training_results(session: Session, checkpoints: Checkpoints, net: InferenceModel, path: Path) -> dict[str, Any]:
    trainer, loss = session.trainer, session.task.loss
    results: dict[str, Any] = {
        "best_epoch": net.epoch,
        "monitor": checkpoints.monitor,
        "best_score": checkpoints.best_score,
        "val": {name.partition("/")[2]: value for name, value in checkpoints.best_metrics.items()},
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": round(session.seconds, 2),
        "parameters": sum(parameter.numel() for parameter in session.task.model.parameters()),
        "seed": session.config["seed"],
        "temperature": net.temperature,
        "checkpoint": {"file": os.path.relpath(path, session.folder), "sha256": net.digest},
        "versions": {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core")},
    }
    method = session.initial.method
    if isinstance(session.task, SemiSupervised):
        results["unlabelled"] = {"images": len(session.task.images), "sure": session.task.latest.get("train/sure", 0.0)}
        results["unlabelled"] |= {"folder": session.data.unlabelled} if session.data.unlabelled is not True else {}
    if method is not None and method.choice:
        results["finetune"] = method.choice
    if isinstance(loss, Distill):
        results["teacher"] = {"sha256": loss.net.digest, "seconds": round(loss.seconds, 2)}
    if "latency_ms" in session.objectives:
        results["latency_ms"] = latency_ms(net)
    return results


def _test(session: Session, net: InferenceModel, results: dict, path: Path) -> dict:
    """Put the metrics of the test split, and after fine-tuning gain and forgetting, into `results`; return figures."""
    data, device = session.data, _device(session)
    logits, labels = predict(net, data.test_dataloader(), device)
    extra = session.task.metrics.extra
    results["test"] = compute_metrics(logits, labels, net.info, net.temperature, extra)
    write_predictions(session.folder / PREDICTIONS, data.test_set, logits, labels, net.info, net.temperature)
    if (source := session.initial.source) is not None:
        method, count = session.initial.method, results["parameters"]
        trained = sum(p.numel() for p in method.all_trainable_parameters(session.task.model)) if method else count
        results["transfer"] = {
            **measure_forgetting(source, net, data, results["test"], device),
            "trainable": trained,
            "parameters": count,
            "seconds": results["seconds"],
            "bytes": path.stat().st_size,
            "file": os.path.relpath(path, session.folder),
        }
    if not session.config["figures"]:
        return {}
    from src.evaluation.figures import write_evaluation_figures  # matplotlib

    return write_evaluation_figures(
        session.folder / "figures", data.test_set, labels, logits, results["test"], net.info
    )


def _log_final_metrics(
    session: Session, checkpoints: Checkpoints, net: InferenceModel, results: dict, figures: dict
) -> None:
    trainer = session.trainer
    test, transfer = results.get("test", {}), results.get("transfer", {})
    scalars = {f"test/{name}": value for name, value in test.items() if isinstance(value, float)}
    scalars |= {f"transfer/{name}": value for name, value in transfer.items() if isinstance(value, float | int)}
    for logger in trainer.loggers if scalars else ():
        logger.log_metrics({**scalars, "epoch": net.epoch - 1}, step=max(0, trainer.global_step - 1))
    name = checkpoints.monitor.rpartition("/")[2]
    final = {f"val_{name}": checkpoints.best_score, f"test_{name}": test.get(name)}
    if trainer.loggers:
        config = session.config
        write_run_summary(trainer.loggers, session.task, config, figures, final, graph=config["figures"])
    for logger in trainer.loggers:
        logger.finalize("success")


def _chosen_by(checkpoints: Checkpoints, path: Path) -> str:
    if path != checkpoints.best:
        return "the last; there was no validation"
    return (
        f"best {checkpoints.monitor}" if checkpoints.choose == "best" else "the last: callbacks.checkpoints.choose=last"
    )


def _device(session: Session) -> str:
    return str(session.trainer.strategy.root_device)
