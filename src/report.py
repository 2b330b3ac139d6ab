"""Study a data set before training on it: python -m src.report data=mnist [key=value ...]"""

import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from src.cli.command import command
from src.cli.config import CONF, instantiate
from src.cli.imports import import_torchmetrics
from src.cli.job_record import output_folder
from src.cli.overrides import command_text
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import integer, require, text
from src.files import display_path

if TYPE_CHECKING:
    from src.dataset_report.context import ReportContext

log = logging.getLogger(__name__)
RANGES = {"max_images": (50, 200_000), "tsne_images": (100, 10_000), "suspects": (1, 10_000), "folds": (2, 20)}


@command("report")
def main(cfg: DictConfig) -> None:
    """Write report.html, report.json and figures/ on the data set `data`."""
    check_report_options(cfg)
    from hydra.core.hydra_config import HydraConfig
    from tqdm import tqdm

    import_torchmetrics(cfg)
    from src.dataset_report.report import select_sections, write_dataset_report

    names = select_sections(list(cfg.sections) if OmegaConf.is_list(cfg.sections) else cfg.sections)
    started = time.perf_counter()
    folder = output_folder()
    typed = command_text("report", HydraConfig.get().overrides.task)
    about = f"{typed} — {time.strftime('%Y-%m-%d %H:%M')}, seed {cfg.seed}"
    with tqdm(total=len(names), leave=False, dynamic_ncols=True, unit=" parts", disable=not sys.stderr.isatty()) as bar:
        bar.set_description("reading")
        context = load_context(cfg, bar.refresh)

        def show_progress(name: str) -> None:
            bar.update(names.index(name) - bar.n)
            bar.set_description(name)

        _, summary = write_dataset_report(context, names, folder, about, show_progress)
    for note in context.data.notes:
        log.info("%s", note)
    for name, value in summary.items():
        log.info("%-45s %s", name, value)
    log.info("\n%.1f s; open %s", time.perf_counter() - started, display_path(folder / "report.html"))
    log.info("report.json and figures/ are in %s", display_path(folder))


def check_report_options(cfg: DictConfig) -> None:
    """Raise InputError for an option that cannot be used."""
    integer("seed", cfg.seed, 0, 2**32 - 1)
    check_threads(cfg.threads)
    for key, (least, most) in RANGES.items():
        integer(key, cfg[key], least, most)
    text("predictions", cfg.predictions, "the folder of a sweep over data.fold", optional=True)
    listed = cfg.sections is None or isinstance(cfg.sections, str) or OmegaConf.is_list(cfg.sections)
    require(listed, f"sections={cfg.sections}: a list of names, or null for all")


def load_context(cfg: DictConfig, on_progress: Callable[[], None]) -> "ReportContext":
    """The images of the data set, and the options that the sections depend on."""
    import torch

    from src.dataset_report.context import ReportContext
    from src.dataset_report.sample import sample_dataset

    tune_process()
    set_threads(cfg.threads)
    augmentations = {name: instantiate(node, f"augment {name}") for name, node in augmentation_nodes(cfg).items()}
    data = instantiate(cfg.data, "data", **({"on_error": "skip"} if "on_error" in cfg.data else {}))  # it names them
    sample = sample_dataset(data, cfg.max_images, cfg.seed)
    options = {key: cfg[key] for key in ("seed", "tsne_images", "suspects", "folds", "predictions")}
    options |= {"augmentations": augmentations, "normalize": data.normalize, "on_progress": on_progress}
    return ReportContext(sample, threads=torch.get_num_threads(), **options)


def augmentation_nodes(cfg: DictConfig) -> dict[str, DictConfig]:
    """Every option of the group augment except none: from its file, but the selected one from the command line."""
    from hydra.core.hydra_config import HydraConfig

    selected = HydraConfig.get().runtime.choices["augment"]
    require(isinstance(selected, str), "augment=null: give augment=none")
    nodes = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "augment").glob("*.yaml"))}
    return {name: node for name, node in {**nodes, selected: cfg.augment}.items() if name != "none"}


if __name__ == "__main__":
    main()
