"""Measure a trained network: python -m src.evaluate ckpt=<run folder, file or newest> [split=val] [data=usps]"""

import logging

from omegaconf import DictConfig

from src.cli.command import command, output_folder
from src.cli.config import ROOT
from src.cli.inputs import SPLITS, build_data, check_device, select_device, select_split
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import require
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)


@command("evaluate")
def main(cfg: DictConfig) -> float:
    """Every figure and picture of one split. Returns the accuracy, or the mean absolute error."""
    require(cfg.split in SPLITS, f"split={cfg.split}: one of {', '.join(SPLITS)}")
    require(cfg.base is None or isinstance(cfg.base, str), f"base={cfg.base}: a file or a run's folder")
    check_device(cfg.device)
    check_threads(cfg.threads)
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs", int8=True)
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from src.evaluation.evaluate import compute_metrics, metrics_table, predict
    from src.files import write_json
    from src.inference.tta import VIEW_COUNTS
    from src.model_files.load import load_predictor

    tune_process()
    set_threads(cfg.threads)
    net = load_predictor(path, base, cfg.threads)
    require(cfg.views in (None, *VIEW_COUNTS), f"views={cfg.views}: 1, 5 or null")
    require(cfg.views != 5 or not net.info.target, f"{net.info.target} is a number: leave views out")
    if net.engine == "onnxruntime":
        require(cfg.device in ("auto", "cpu"), f"device={cfg.device}: ONNX files are computed by the CPU here")
        fixed = f"views={cfg.views}: the file was exported with {net.views}: leave views out, or export again"
        require(cfg.views in (None, net.views), fixed)
    net.views = cfg.views or net.views
    data = build_data(cfg, net.config["data"])
    batches = select_split(data, cfg.split, net.info)
    device = select_device(cfg.device) if net.engine == "torch" else "cpu"
    logits, labels = predict(net, data.loader(batches), device)
    results = compute_metrics(logits, labels, net.info, net.temperature)

    folder = output_folder()
    about = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch, "data": data.name, "split": cfg.split}
    write_json(folder / "results.json", {**about, **results})
    log.info("%s, weights of epoch %d, on the %s split of %s\n", display_path(path), net.epoch, cfg.split, data.name)
    log.info("%s", metrics_table(results))
    if cfg.figures:
        from src.evaluation.figures import write_evaluation_figures

        write_evaluation_figures(folder / "figures", batches, labels, logits, results, net.info)
    log.info("\nresults.json%s in %s", " and figures/" if cfg.figures else "", display_path(folder))
    return results.get("acc", results.get("mae"))


if __name__ == "__main__":
    main()
