"""Every figure of the project is drawn with any names, and stays at a size for a screen with any number of classes."""

import ast

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from src.compression.figures import write_compression_figure
from src.dashboard.image_grids import confusion_image
from src.data.augment import Identity
from src.data.batches import BatchDataset
from src.data.info import DataInfo
from src.dataset_report.context import ReportContext
from src.dataset_report.report import SECTIONS, write_dataset_report
from src.dataset_report.sample import SplitSample
from src.evaluation.evaluate import compute_metrics, confused_pairs, metrics_table
from src.evaluation.figures import block_maxima, regression_scatter, write_evaluation_figures
from src.evaluation.task_figures import draw_tasks
from src.insight import attribution_figures, layer_figures
from src.insight.architecture import architecture_figure
from src.insight.explanation import Explanation, make_captions
from src.insight.outputs import _class_image_figure
from src.insight.summary import Layer, Summary
from src.plotting import MANY_CLASSES
from src.sweep.comparison import compare_runs
from src.sweep.figures import write_sweep_figures
from src.sweep.run_records import find_runs
from src.sweep.study import SearchSummary
from tests.compression.test_compression_measures import row
from tests.dataset_report.samples import dataset_sample
from tests.run_folders import make_run
from tests.test_plotting import NAMES, _forget_fonts
from tests.test_structure import FILES, stem

CLASSES = len(NAMES)
MOST_PX = 1400
DRAWING = {  # the files of src that put texts into figures; each is drawn below with odd names
    *(
        "compression/figures",
        "dashboard/image_grids",
        "evaluation/figures",
        "evaluation/task_figures",
        "sweep/figures",
        "sweep/learning_curves",
    ),
    "training/lr_range",
    *(f"dataset_report/{name}" for name in ("embeddings", "figures", "image_grids")),
    *(f"insight/{name}" for name in ("architecture", "attribution_figures", "layer_figures")),
}
TEXT_CALLS = {"set_title", "set_xlabel", "set_ylabel", "suptitle", "annotate", "set_xticks", "set_yticks", "text"}
RAW = {".name", ".class_names", "class_names", "key", "path", ".path", ".target"}  # what holds a text of a user


@pytest.fixture(autouse=True)
def _fonts_not_yet_found():
    _forget_fonts()
    with matplotlib.rc_context({"font.family": ["sans-serif"]}):
        yield
    _forget_fonts()


def fixed_predictions(classes: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    logits = torch.randn(count, classes, generator=generator)
    return logits + 4 * torch.nn.functional.one_hot(labels, classes), labels


def sizes(folder) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            found[path.name] = picture.size
    return found


def names_of(classes: int) -> tuple[str, ...]:
    return tuple(f"a class with a long name, number {index}" for index in range(classes))


def calls_with_raw_names(path) -> list[int]:
    """Lines where a text call of matplotlib is given a class or run name that did not go through src.plotting."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TEXT_CALLS:
            through = [call for call in ast.walk(node) if isinstance(call, ast.Call) and call is not node]
            through = [call for call in through if getattr(call.func, "id", "") in ("label", "class_labels")]
            escaped = {id(part) for call in through for part in ast.walk(call)}
            raw = [one for one in ast.walk(node) if id(one) not in escaped]
            raw = {f".{one.attr}" if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in raw}
            found += [node.lineno] * bool(RAW & raw)
    return found


def test_no_name_reaches_a_figure_as_it_is():
    assert {stem(path): lines for path in FILES if (lines := calls_with_raw_names(path))} == {}


def test_the_files_that_draw_are_known():
    calls = {
        stem(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in TEXT_CALLS and "server" not in stem(path)
    }
    assert calls - {"plotting"} == DRAWING


def test_the_figures_of_an_evaluation(tmp_path):
    logits, labels = fixed_predictions(CLASSES, 200)
    images = torch.randint(256, (200, 3, 16, 16), dtype=torch.uint8)
    batches = BatchDataset(images, labels, torch.arange(200))
    info = DataInfo((3, 16, 16), tuple(NAMES), (0.5,) * 3, (0.2,) * 3)
    write_evaluation_figures(tmp_path, batches, labels, logits, compute_metrics(logits, labels, info), info)
    assert len(sizes(tmp_path)) == 3
    angle = DataInfo((1, 16, 16), (), (0.5,), (0.2,), "$angle$_deg", 45.0)
    regression_scatter(torch.rand(9, 1), torch.rand(9), angle, 1.0).draw_without_rendering()
    assert confusion_image(torch.eye(CLASSES, dtype=torch.int64), tuple(NAMES), "title").ndim == 3


def test_the_figures_of_tasks():
    for done, tasks in ((1, 3), (3, 3), (20, 20)):
        rows = torch.rand(done + 1, tasks).tolist()
        rows[0][0] = None  # a task without images
        names = ["+".join(NAMES[(task + at) % len(NAMES)] for at in range(3)) for task in range(tasks)]
        draw_tasks(rows, names, "test").draw_without_rendering()


def test_the_figures_of_an_explanation(tmp_path):
    logits, labels = fixed_predictions(CLASSES, CLASSES)
    info = DataInfo((1, 12, 12), tuple(NAMES), (0.5,), (0.2,))
    images = torch.randint(256, (CLASSES, 1, 12, 12), dtype=torch.uint8)
    files = [f"{name}.png" for name in NAMES]
    captions = make_captions(Explanation(images, files, logits, labels.flip(0), labels=labels), info)
    maps = {"saliency": torch.rand(CLASSES, 1, 12, 12)}
    near = torch.rand(CLASSES, 2, 1, 12, 12)
    features = dict.fromkeys(["$layer$", "层"], torch.rand(2, 4, 4))
    layers = [Layer("in", "input", (1, 12, 12)), Layer("$a$", "$Conv_2d$", (4, 6, 6)), Layer("b", "层", (10,))]
    figures = [
        attribution_figures.attribution_figure(images, captions, maps, ["note"]),
        attribution_figures.neighbor_figure(images, captions, near, [NAMES[:2]] * CLASSES, torch.rand(CLASSES, 2), ""),
        layer_figures.feature_map_figure(images[0], features, {"$layer$": "$Conv$"}, captions[0].name),
        layer_figures.layer_figure(images[:2], torch.rand(2, 4, 5, 5), "$layer$"),
        layer_figures.filter_figure({"$layer$": torch.rand(4, 1, 3, 3)}),
        architecture_figure(Summary("Net$work$", (1, 12, 12), layers)),
        _class_image_figure(images, labels, torch.ones(CLASSES), net_of(info)),
    ]
    for number, figure in enumerate(figures):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{number}.png")


def net_of(info: DataInfo) -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, CLASSES))
    net.info, net.temperature, net.forward = info, None, lambda images: net[1](net[0](images.float()))
    return net


def report_of(classes: int, names: tuple[str, ...], per_class: int, folder) -> dict[str, tuple[int, int]]:
    count = classes * per_class
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % classes
    images = torch.randint(256, (count, 3, 10, 10), dtype=torch.uint8, generator=generator)
    train = SplitSample(images, labels, torch.arange(count), count)
    test = SplitSample(images[:20].flip(2), labels[:20], torch.arange(20), 20)
    context = ReportContext(dataset_sample(train, test, names), tsne_images=100, augmentations={"$none$": Identity()})
    context.normalize = lambda images: images.float() / 255
    write_dataset_report(context, list(SECTIONS), folder, f"about {names[0]}", lambda name: None)
    return sizes(folder)


def test_the_figures_and_the_page_of_a_report(tmp_path):
    found = report_of(CLASSES, tuple(NAMES), 6, tmp_path)
    assert {"counts.png", "examples.png", "averages.png", "measures.png", "labels.png", "outliers.png"} <= set(found)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "苹果" in page and r"caf\udce9" in page and r"a\nb" in page and "\udce9" not in page


def test_the_figures_of_a_sweep_and_of_a_compression(tmp_path):
    for number, name in enumerate(NAMES[:6]):
        words = [f"model.activation={name}", f"+model.other={NAMES[-number - 1]}", f"seed={number}"]
        tasks = {"test": {"matrix": [[0.1, None], [0.9, 0.2], [0.5, 0.8]]}}
        folder = name.replace("\n", "") + str(number)
        run = make_run(tmp_path / "sweep", folder, words, 0.9 + 0.01 * number, continual=tasks)
        (run / "metrics.csv").write_text("epoch,val/acc\n1,0.5\n2,0.9\n")
    comparison = compare_runs(find_runs([str(tmp_path / "sweep")]))
    search = SearchSummary({"$lr$": 0.9, "苹果": 0.1}, ["val/acc", "parameters"], [comparison.runs[0].name])
    names = write_sweep_figures(comparison, tmp_path / "figures", search)
    assert {"curves", "tasks", "parameters", "parallel", "importance", "pareto", "history"} <= set(names)
    write_compression_figure(tmp_path / "c.png", [row(name) for name in NAMES])


@pytest.mark.parametrize("classes", [30, 120, 1000])
def test_pictures_of_many_classes_stay_at_a_normal_size(classes, tmp_path):
    names, (logits, labels) = names_of(classes), fixed_predictions(classes, 2 * classes)
    info = DataInfo((3, 10, 10), names, (0.5,) * 3, (0.2,) * 3)
    batches = BatchDataset(torch.zeros(2 * classes, 3, 10, 10, dtype=torch.uint8), labels, torch.arange(2 * classes))
    write_evaluation_figures(tmp_path, batches, labels, logits, compute_metrics(logits, labels, info), info)
    found = sizes(tmp_path) | report_of(classes, names, 2, tmp_path / "report")
    assert {name: size for name, size in found.items() if size[0] > MOST_PX or size[1] > 2 * MOST_PX} == {}
    assert max(found["confusion_matrix.png"]) <= 1300
    drawn = confusion_image(torch.eye(classes, dtype=torch.int64), names, "title")
    assert max(drawn.shape[:2]) < 700


def test_no_cell_of_a_large_matrix_is_lost():
    shares = np.zeros((1000, 1000))
    shares[123, 877] = 0.5
    blocks = block_maxima(shares, 420)
    assert blocks.shape == (334, 334) and blocks[41, 292] == 0.5 == blocks.max()
    assert block_maxima(shares[:30, :30], 420).shape == (30, 30)


def test_the_table_of_many_classes_shows_the_worst():
    """Class 7 is always taken for 3, and class 9 half of the time for 8."""
    labels = torch.arange(120).repeat(10)
    predictions = labels.clone()
    predictions[labels == 7] = 3
    predictions[(labels == 9).nonzero()[:5]] = 8
    info = DataInfo((1, 1, 1), names_of(120), (0.5,), (0.2,))
    metrics = compute_metrics(10.0 * torch.nn.functional.one_hot(predictions, 120), labels, info)
    lines = metrics_table(metrics).splitlines()
    assert len(lines) < 30
    assert any("10 of 120 classes" in line and "results.json" in line for line in lines)
    worst = [line for line in lines if "number 7 " in line or "number 9 " in line]
    assert "  0.00 %   of 10" in worst[0] and " 50.00 %   of 10" in worst[1]
    assert any("number 7" in line and "number 3" in line and "10 of 10" in line for line in lines)
    assert any("15 of 15 mistakes" in line for line in lines)
    assert [pair[:3] for pair in confused_pairs(metrics["confusion"])] == [(7, 3, 10), (9, 8, 5)]
    few = compute_metrics(
        torch.eye(MANY_CLASSES), torch.arange(MANY_CLASSES), DataInfo((1, 1, 1), names_of(20), (), ())
    )
    assert metrics_table(few).count("   of 1") == 20
