"""Folders of runs as jobs leave them."""

import json
from pathlib import Path

import yaml


def make_run(
    folder: Path, number, overrides, best=None, state="finished", choices=None, config=None, **results
) -> Path:
    """The folder of one run. best: its val/acc; None for a run without results."""
    path = folder / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    hydra = {"hydra": {"runtime": {"choices": choices or {"model": "lenet", "data": "digits"}}}}
    (path / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    (path / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0, "optimizer": {"lr": 0.003}}))
    (path / "status.json").write_text(json.dumps({"state": state, "command": "train", "seconds": 2.0}))
    if best is not None:
        monitored = {"monitor": "val/acc", "best_score": best, "best_epoch": 2, "val": {"acc": best, "loss": 1 - best}}
        (path / "results.json").write_text(json.dumps({**monitored, "parameters": 10, **results}))
    return path
