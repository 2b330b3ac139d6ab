"""Write a finished run to TensorBoard: graph, config, figures and hyperparameters."""

import json
import warnings
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from src.errors import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = ("data", "augment", "model", "loss", "optimizer", "scheduler", "finetune", "task")
MOST = 1000  # characters of a value
SKIPPED = ("root", "mirrors", "download", "seed", "split_seed", "num_workers", "eval_batch_size", "memory_gb", "fused")


def write_run_summary(
    loggers: list[Logger],
    task: LightningModule,
    config: dict,
    figures: "dict[str, Figure]",
    final: dict[str, float],
    graph: bool = True,
) -> None:
    """Write the network's graph, the config as text, the figures, and the hyperparameters with the final metrics.

    final: metrics of the HPARAMS tab by name, logged as final/<name>.
    """
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            continue
        writer, step = logger.experiment, task.trainer.global_step
        writer.add_text("config", "```json\n" + json.dumps(config, indent=2) + "\n```")
        for name, figure in figures.items():
            writer.add_figure(f"test/{name}", figure, step, close=False)
        if graph and task.model._compiled_call_impl is None:  # the tracer cannot trace a compiled network
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # the tracer's warnings about shapes that are constant here
                example = torch.zeros(1, *task.info.shape, device=task.device, dtype=next(task.parameters()).dtype)
                writer.add_graph(task.model.eval(), example)
        metrics = {f"final/{name}": value for name, value in final.items() if value is not None}
        logger.log_hyperparams(flat_hyperparameters(config), metrics)


def flat_hyperparameters(config: dict) -> dict[str, str | int | float | bool]:
    """The config's choices as flat keys with values that the HPARAMS tab can sort."""
    flat = {"seed": config["seed"], "max_epochs": config["trainer"]["max_epochs"]}
    for group in GROUPS:
        for key, value in config[group].items():
            if key == "_target_":
                flat[group] = value.rpartition(".")[2] if value else "none"
            elif not key.startswith("_") and key not in SKIPPED:
                text = value if isinstance(value, str) else json.dumps(value)
                flat[f"{group}.{key}"] = value if isinstance(value, bool | int | float) else printable(text, MOST)
    flat["data"] = flat.pop("data.name")
    return {key: value if value is not None else "null" for key, value in flat.items()}
