"""What a job's folder records of the command that runs in it: its config in .hydra, its state in status.json."""

import os
import time
from copy import deepcopy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

import src
from src.cli.config import config_folders
from src.cli.process import is_main_process, is_sweep_job
from src.cli.targets import recorded_option
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
        self.option: str | None = None  # of the group model, where it is known
        self.resumes = bool(cfg.get("resume_from")) and not is_sweep_job()
        if not self.resumes:
            self.begin()

    def begin(self, model: dict | None = None) -> None:
        """Record the job as running, with its config. model: the network that it trains, which init_from may bring."""
        if not is_main_process():
            return
        changed = model is not None and self._set_network(model)
        if (self.resumes and not self.begun) or (changed and HydraConfig.get().output_subdir):
            self._write_config()
        if not self.begun:
            self.begun = True
            self._write_status("running")

    def _set_network(self, model: dict) -> bool:
        """Whether the record changes: the command's config describes another network, or another option's."""
        settings = HydraConfig.get()
        choice = settings.runtime.choices.get("model")
        if choice is None:  # a command that trains on the way
            return False
        self.option = recorded_option(model["_target_"], choice, config_folders(settings))
        if OmegaConf.to_container(self.cfg.model, resolve=True) != model:
            with open_dict(self.cfg):
                self.cfg.model = model
            return True
        return self.option != choice

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
            hydra.hydra.output_subdir = hydra.hydra.output_subdir or HYDRA_FOLDER
            if self.option is not None:
                hydra.hydra.runtime.choices.model = self.option
        folder = self.folder / hydra.hydra.output_subdir
        folder.mkdir(exist_ok=True)
        for name, node in (("config", self.cfg), ("hydra", hydra), ("overrides", hydra.hydra.overrides.task)):
            write_text(folder / f"{name}.yaml", OmegaConf.to_yaml(node))


_running: JobRecord | None = None


def open_record(cfg: DictConfig) -> JobRecord:
    """The record of a job that starts now."""
    global _running
    _running = JobRecord(cfg)
    return _running


def begin_job(model: dict) -> None:
    """Say that the running job's input is accepted: from now on it writes into its folder. Nothing without a job.

    model: the network that it trains, as its config describes it.
    """
    if _running is not None:
        _running.begin(model)


def end_job(state: str, error: str) -> None:
    """Record how the running job ends, where it cannot end itself. Nothing without a job."""
    if _running is not None:
        _running.end(state, error=error)


def job_started() -> float | None:
    """When the running command or job of a sweep began, on time.perf_counter's clock; None without a job."""
    return None if _running is None else _running.started


def output_folder() -> Path:
    """The running job's folder."""
    return Path(HydraConfig.get().runtime.output_dir)
