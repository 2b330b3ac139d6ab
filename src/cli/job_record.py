"""What a job's folder records of the command that runs in it: its config in .hydra, its state in status.json."""

import os
import time
from copy import deepcopy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write

import src
from src.cli.process import is_main_process, is_sweep_job
from src.files import read_json, write_json, write_text

HYDRA_FOLDER = ".hydra"


class JobRecord:
    """The record of the job that runs now, with its config.

    A job that resumes a run finds the record of that run. It leaves it as it is until `begin`, so that a resume that is
    refused changes nothing; Hydra gets hydra.output_subdir=null, as it would write the config first.
    """

    def __init__(self, cfg: DictConfig):
        self.cfg, self.folder, self.begun = cfg, output_folder(), False
        self.started = time.perf_counter() if is_sweep_job() else src.STARTED  # imports are part of a command
        self.date = time.time() - self.seconds()
        self.resumes = bool(cfg.get("resume_from")) and not is_sweep_job()
        if not self.resumes:
            self.begin()

    def begin(self) -> None:
        """Record the job as running, with its config."""
        if self.begun or not is_main_process():
            return
        self.begun = True
        if self.resumes:
            self._write_config()
        self._write_status("running")

    def seconds(self) -> float:
        """Since the command was typed, or a job of a sweep began."""
        return time.perf_counter() - self.started

    def end(self, state: str, **entries) -> None:
        """Record how it ended, if it began; a run whose last command was cut off after its results has finished."""
        if self.begun or (state == "finished" and not self._has_finished()):
            self._write_status(state, seconds=self.seconds(), **entries)

    def _has_finished(self) -> bool:
        try:
            return read_json(self.folder / "status.json").get("state") == "finished"
        except (OSError, ValueError):
            return False

    def _write_status(self, state: str, **entries) -> None:
        name = HydraConfig.get().job.config_name
        common = {"state": state, "command": name, "started": self.date, "pid": os.getpid()}
        write_json(self.folder / "status.json", {**common, **entries})

    def _write_config(self) -> None:
        """The three files that Hydra writes into output_subdir."""
        hydra = deepcopy(HydraConfig.instance().cfg)
        with read_write(hydra.hydra):
            hydra.hydra.output_subdir = HYDRA_FOLDER
        folder = self.folder / HYDRA_FOLDER
        folder.mkdir(exist_ok=True)
        for name, node in (("config", self.cfg), ("hydra", hydra), ("overrides", hydra.hydra.overrides.task)):
            write_text(folder / f"{name}.yaml", OmegaConf.to_yaml(node))


_running: JobRecord | None = None


def open_record(cfg: DictConfig) -> JobRecord:
    """The record of a job that starts now."""
    global _running
    _running = JobRecord(cfg)
    return _running


def begin_job() -> None:
    """Say that the running job's input is accepted: from now on it writes into its folder. Nothing without a job."""
    if _running is not None:
        _running.begin()


def job_started() -> float | None:
    """When the running command or job of a sweep began, on time.perf_counter's clock; None without a job."""
    return None if _running is None else _running.started


def output_folder() -> Path:
    """The running job's folder."""
    return Path(HydraConfig.get().runtime.output_dir)
