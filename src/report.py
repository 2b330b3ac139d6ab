"""Study a data set before training on it: python -m src.report data=mnist [key=value ...]"""

import logging
import shlex
import sys
import time

from omegaconf import DictConfig, OmegaConf

from src.cli.command import command, output_folder
from src.cli.config import CONF, build
from src.cli.process import check_threads, tune_process, use_threads
from src.errors import InputError, is_integer, require
from src.files import display_path

log = logging.getLogger(__name__)
RANGES = {"max_images": (50, 200_000), "tsne_images": (100, 10_000), "suspects": (1, 10_000), "folds": (2, 20)}


@command("report")
def main(cfg: DictConfig) -> None:
    """report.html, report.json and figures/ on the data set `data`."""
    check(cfg)
    import torch
    from tqdm import tqdm

    from src.dataset_report.collect import collect
    from src.dataset_report.context import ReportContext
    from src.dataset_report.report import choose_sections, write_dataset_report

    names = choose_sections(cfg.sections if isinstance(cfg.sections, str | None) else list(cfg.sections))
    started = time.perf_counter()
    tune_process()
    use_threads(cfg.threads)
    augments = {name: build(node, f"augment {name}") for name, node in augmentations(cfg).items()}
    data = build(cfg.data, "data")
    with tqdm(
        total=len(names),
        leave=False,
        dynamic_ncols=True,
        unit=" parts",
        disable=not sys.stderr.isatty(),
        desc="reading",
    ) as bar:
        look = ReportContext(
            collect(data, cfg.max_images, cfg.seed),
            seed=cfg.seed,
            threads=torch.get_num_threads(),
            tsne_images=cfg.tsne_images,
            suspects=cfg.suspects,
            folds=cfg.folds,
            predictions=cfg.predictions,
            augments=augments,
            normalize=data.normalize,
            tick=bar.refresh,
        )

        def begin(name: str) -> None:
            bar.update(names.index(name) - bar.n)
            bar.set_description(name)

        about = f"{typed()} — {time.strftime('%Y-%m-%d %H:%M')}, seed {cfg.seed}"
        found = write_dataset_report(look, names, output_folder(), about, begin)
    for note in look.collection.notes:
        log.info("%s", note)
    for name, text in found["brief"].items():
        log.info("%-45s %s", name, text)
    folder = output_folder()
    log.info("\n%.1f s; open %s", time.perf_counter() - started, display_path(folder / "report.html"))
    log.info("report.json and figures/ are in %s", display_path(folder))


def check(cfg: DictConfig) -> None:
    """Raise InputError for a number out of its range."""
    require(is_integer(cfg.seed) and 0 <= cfg.seed < 2**32, f"seed={cfg.seed}: a whole number, 0 to {2**32 - 1}")
    check_threads(cfg.threads)
    for key, (low, high) in RANGES.items():
        value = cfg[key]
        require(is_integer(value) and low <= value <= high, f"{key}={value}: a whole number, {low:,} to {high:,}")
    given = cfg.predictions
    require(given is None or isinstance(given, str), f"predictions={given}: the folder of a sweep over data.fold")
    listed = cfg.sections is None or isinstance(cfg.sections, str) or OmegaConf.is_list(cfg.sections)
    require(listed, f"sections={cfg.sections}: a list of names, or null for all")


def typed() -> str:
    """The command that made this report, to be typed again."""
    from hydra.core.hydra_config import HydraConfig

    return shlex.join(["python", "-m", "src.report", *HydraConfig.get().overrides.task])


def augmentations(cfg: DictConfig) -> dict[str, DictConfig]:
    """Every option of the group augment but none, as its file has it; the chosen one as the command line has it."""
    from hydra.core.hydra_config import HydraConfig

    chosen = HydraConfig.get().runtime.choices["augment"]
    if not isinstance(chosen, str):
        raise InputError("augment=null: give augment=none")
    found = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "augment").glob("*.yaml"))}
    return {name: node for name, node in {**found, chosen: cfg.augment}.items() if name != "none"}


if __name__ == "__main__":
    main()
