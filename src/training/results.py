"""What a finished run leaves: results.json, the test of its best epoch, pictures, the dashboard's last entries."""

import logging
import os
from pathlib import Path

import numpy as np
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from src.cli.config import to_plain
from src.dashboard.run_summary import write_run
from src.evaluation.calibration import fit_temperature
from src.evaluation.evaluate import latency_ms, measure, metrics_table, predict
from src.evaluation.forgetting import forgetting_table, measure_forgetting
from src.files import write_json
from src.inference.model import InferenceModel
from src.model_files.checkpoint import keep_temperature, load_model
from src.training.callbacks import Checkpoints
from src.training.distillation import Distill
from src.training.initialize import InitialModel

log = logging.getLogger(__name__)


def write_results(
    cfg: DictConfig,
    folder: Path,
    trainer: Trainer,
    saved: Checkpoints,
    start: InitialModel,
    seconds: float,
    asked: list[str],
) -> None:
    """Write results.json and the dashboard's last entries; test the best epoch once, unless that is switched off.

    asked: what a search wants to know of the run besides its validation.
    """
    task, data = trainer.lightning_module, trainer.datamodule
    pruned = any(getattr(callback, "pruned", False) for callback in trainer.callbacks)
    path = saved.best if saved.best.is_file() else saved.last
    net = load_model(path)
    device = str(trainer.strategy.root_device)
    if not (pruned or net.info.target):
        logits, labels = predict(net, data.val_dataloader(), device)
        if data.folds is not None:
            columns = {"index": data.val_set.indices, "labels": labels, "logits": logits}
            np.savez_compressed(folder / "predictions.npz", **{name: value.numpy() for name, value in columns.items()})
        net.temperature = fit_temperature(logits, labels)
        net.digest = keep_temperature(path, net.temperature)
    results = {
        "best_epoch": net.epoch,
        "monitor": saved.monitor,
        "best_score": saved.best_score,
        "val": {name.partition("/")[2]: value for name, value in saved.best_metrics.items()},
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": round(seconds, 2),
        "parameters": sum(parameter.numel() for parameter in task.model.parameters()),
        "seed": cfg.seed,
        "temperature": net.temperature,
        "checkpoint": {"file": os.path.relpath(path, folder), "sha256": net.digest},
        "versions": versions(),
        **({"pruned": True} if pruned else {}),
    }
    if isinstance(task.loss, Distill):
        results["teacher"] = {"sha256": task.loss.net.digest, "seconds": round(task.loss.seconds, 2)}
    if "latency_ms" in asked:
        results["latency_ms"] = latency_ms(net)
    figures, scalars = {}, {}
    if cfg.test and not pruned:
        figures = test(cfg, folder, trainer, net, start, results, path)
        scalars = {f"test/{name}": value for name, value in results["test"].items() if isinstance(value, float)}
        gained = results.get("transfer", {})
        scalars |= {f"transfer/{name}": value for name, value in gained.items() if isinstance(value, float | int)}
    write_json(folder / "results.json", results)
    if trainer.loggers:
        for logger in trainer.loggers if scalars else ():
            logger.log_metrics({**scalars, "epoch": net.epoch - 1}, step=max(0, trainer.global_step - 1))
        name = saved.monitor.rpartition("/")[2]
        final = {f"val_{name}": saved.best_score, f"test_{name}": results.get("test", {}).get(name)}
        write_run(trainer.loggers, task, to_plain(cfg), figures, final, graph=cfg.figures)
        for logger in trainer.loggers:
            logger.finalize("success")
    if "test" in results:
        why = "the last; there was no validation"
        if path == saved.best:
            why = f"best {saved.monitor}" if saved.choose == "best" else "the last: callbacks.checkpoints.choose=last"
        log.info("\ntest split, weights of epoch %d (%s):\n%s", net.epoch, why, metrics_table(results["test"]))
    if "transfer" in results:
        log.info("\n%s", forgetting_table(results["transfer"]))


def test(
    cfg: DictConfig, folder: Path, trainer: Trainer, net: InferenceModel, start: InitialModel, results: dict, path: Path
) -> dict:
    """Put the figures of the test split into `results`, and what fine-tuning gained; returns the pictures of it."""
    data, device = trainer.datamodule, str(trainer.strategy.root_device)
    logits, labels = predict(net, data.test_dataloader(), device)
    results["test"] = measure(logits, labels, net.info, net.temperature)
    if start.net is not None:
        count = results["parameters"]
        results["transfer"] = {
            **measure_forgetting(start.net, net, data, results["test"], device),
            "trainable": sum(p.numel() for p in start.method.ever(trainer.lightning_module.model))
            if start.method
            else count,
            "parameters": count,
            "seconds": results["seconds"],
            "bytes": path.stat().st_size,
            "file": os.path.relpath(path, folder),
        }
    if not cfg.figures:
        return {}
    from src.evaluation.figures import write_evaluation  # matplotlib

    return write_evaluation(folder / "figures", data.test_set, labels, logits, results["test"], net.info)


def versions() -> dict[str, str]:
    """The libraries that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core")}
