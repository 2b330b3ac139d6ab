"""The report on a data set: its measures, its searches with planted finds, its page."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from src.cli.config import ROOT
from src.data.augment import Identity, Shift
from src.data.datamodule import ImageData
from src.data.sources.registry import load_source
from src.dataset_report import (
    confident_learning,
    duplicates,
    embeddings,
    figures,
    image_grids,
    ink_measures,
    outliers,
    statistics,
)
from src.dataset_report.collect import Collection, Part, collect
from src.dataset_report.context import ReportContext, ReportFigure, Section, many
from src.dataset_report.embedding_figures import thumbnails
from src.dataset_report.patch_classifier import out_of_fold
from src.dataset_report.pca import axes_of
from src.dataset_report.report import SECTIONS, choose_sections, write_dataset_report
from src.errors import InputError
from tests.commands import files, run
from tests.small_data import idx_bytes

PICTURES = {
    "counts", "examples", "averages", "pixels", "ink", "components", "pca", "tsne", "test_train", "train_train",
    "distances", "outliers", "labels", "normalisation", "augmentations",
}  # fmt: skip


def bar(width: int, height: int = 20, shear: float = 0.0, side: int = 40) -> torch.Tensor:
    """A white bar as uint8 (1, 1, side, side), whose top is shear * height columns to the right of its foot."""
    image = torch.zeros(side, side, dtype=torch.uint8)
    top = (side - height) // 2
    for row in range(height):
        left = (side - width) // 2 + round(shear * (height / 2 - row - 0.5))
        image[top + row, left : left + width] = 255
    return image[None, None]


def scans() -> tuple[Part, Part, tuple[str, ...]]:
    """The bundled digits, training and test."""
    source = load_source("digits")
    parts = []
    for images, labels in (source.train(), source.test()):
        parts.append(Part(images, labels, torch.arange(len(labels)), len(labels)))
    return *parts, source.class_names


def collection(train: Part, test: Part, names: tuple[str, ...]) -> Collection:
    counts = {"train": train.labels.bincount(minlength=len(names)).tolist(), "val": [0] * len(names)}
    counts["test"] = test.labels.bincount(minlength=len(names)).tolist()
    return Collection("planted", names, train, test, counts, (0.1,), (0.3,))


def with_images(part: Part, images: torch.Tensor) -> Part:
    return Part(images, part.labels, part.rows, part.total)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_stroke_width_of_a_bar_is_its_width(width):
    found = ink_measures.strokes(torch.cat([bar(width), bar(width).mT.contiguous()]))
    assert found["stroke"].tolist() == pytest.approx([width] * 2, rel=0.06)
    assert found["mass"].tolist() == pytest.approx([20 * width] * 2)
    assert [found["width"][0], found["height"][0]] == [width, 20]


@pytest.mark.parametrize("width", [2.0, 3.5])
def test_stroke_width_of_soft_slanting_strokes(width):
    """A bar with a smooth edge, turned by 30 degrees: grey levels count."""
    y, x = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(40.0) - 19.5, indexing="ij")
    along, across = x * 0.5 + y * 0.75**0.5, x * 0.75**0.5 - y * 0.5
    inside = (width / 2 + 0.5 - across.abs()).clamp(0, 1) * (12.5 - along.abs()).clamp(0, 1)
    found = ink_measures.strokes((inside * 255).round().to(torch.uint8)[None, None])
    assert float(found["stroke"]) == pytest.approx(width, rel=0.1)
    assert float(found["slant"]) == pytest.approx(-30, abs=2)  # x grows with y: its top leans to the left


@pytest.mark.parametrize("degrees", [-30, -10, 0, 15, 40])
def test_slant_of_a_sheared_bar(degrees):
    image = bar(3, 30, float(np.tan(np.radians(degrees))), 60)
    assert float(ink_measures.strokes(image)["slant"]) == pytest.approx(degrees, abs=1)


def test_centre_of_mass_moves_with_the_image_and_paper_may_be_white():
    image = bar(4)
    moved = image.roll((3, -5), (2, 3))
    found = ink_measures.strokes(torch.cat([image, moved, 255 - moved]))
    assert found["right"].tolist() == pytest.approx([0, -5, -5])
    assert found["down"].tolist() == pytest.approx([0, 3, 3])
    assert found["stroke"][1] == found["stroke"][2]


def test_an_image_without_ink_has_no_measures():
    found = ink_measures.strokes(torch.full((1, 3, 9, 9), 77, dtype=torch.uint8))
    assert float(found["mass"]) == 0
    assert all(found[name].isnan().all() for name in found if name != "mass")
    assert statistics.spread_of(found["slant"])["median"] is None


def test_averages_and_levels_are_what_they_say():
    images = torch.randint(256, (50, 3, 5, 4), dtype=torch.uint8)
    labels = torch.arange(50) % 2
    mean, spread = statistics.averages(images, labels, 3)
    torch.testing.assert_close(mean[1], images[1::2].float().mean(0))
    torch.testing.assert_close(spread[0], images[::2].float().std(0, correction=0))
    assert (mean[2] == 0).all()
    found = statistics.levels(images)
    assert found.sum(1).tolist() == [1000] * 3
    assert found[2, 7] == (images[:, 2] == 7).sum()


def test_nearest_is_the_nearest():
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(300, 20, generator=generator), torch.randn(1100, 20, generator=generator)
    rows, distances = duplicates.nearest_images(queries, keys)
    truth = torch.cdist(queries, keys).min(1)
    assert rows.equal(truth.indices)
    torch.testing.assert_close(distances, truth.values, atol=1e-4, rtol=1e-4)
    rows, _ = duplicates.nearest_images(keys, keys, same=True)
    assert rows.equal(torch.cdist(keys, keys).fill_diagonal_(9e9).min(1).indices)


@pytest.mark.parametrize("count", [12, 90])
def test_principal_axes(count):
    """Orthonormal, and what they leave out is what the variances say, with fewer and with more vectors than values."""
    vectors = torch.randn(count, 30, generator=torch.Generator().manual_seed(0))
    axes = axes_of(vectors, 5)
    torch.testing.assert_close(axes.axes.T @ axes.axes, torch.eye(5), atol=1e-4, rtol=1e-4)
    centred = vectors - vectors.mean(0)
    rest = centred - axes.read(vectors) @ axes.axes.T
    assert float(rest.square().sum() / count) == pytest.approx(float(axes.variances[5:].sum()), rel=1e-3)
    found = duplicates.nearest_images(vectors, vectors, axes)
    assert found[0].equal(torch.arange(count))
    assert found[1].max() < 1e-5


def test_identical_groups_whole_copies_only():
    images = torch.randint(256, (6, 1, 4, 4), dtype=torch.uint8)
    images[4], images[5], images[3] = images[1], images[1], images[0]
    images[3, 0, 0, 0] ^= 1
    assert duplicates.identical(images) == [[1, 4, 5]]


def test_oddness_is_one_for_the_usual_and_nan_for_the_only_one():
    vectors = torch.cat([torch.randn(40, 5), torch.full((1, 5), 9.0), torch.zeros(1, 5)])
    labels = torch.tensor([0] * 41 + [1])
    distances = outliers.own_distances(vectors, labels, 2)
    kth = torch.cdist(vectors[:41], vectors[:41]).sort(1).values[:, outliers.KTH]
    torch.testing.assert_close(distances[:41], kth, atol=1e-3, rtol=1e-3)
    odd = outliers.outlier_ratio(distances, labels, 2)
    assert int(odd.nan_to_num(0).argmax()) == 40
    assert float(odd[:41].median()) == pytest.approx(1)
    assert odd[41].isnan()


def test_reasons_name_what_differs():
    measures = {"mass": torch.tensor([9.0, 10, 11, 10, 50]), "slant": torch.tensor([0.0, 1, 2, 1, 1])}
    found = outliers.reasons(measures, torch.zeros(5, dtype=torch.int64), 1, torch.tensor([4, 1]))
    assert found == ["mass 50.0, usual 10.0", "unusual shape"]


def test_out_of_fold_scores_do_not_know_their_own_label():
    """Features that tell every image apart, but no class: out of fold, labels are only guessed."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 600, generator=generator)
    features[:, -1] = 1
    labels = torch.randint(2, (400,), generator=generator)
    right = (out_of_fold(features, labels, 2, 5, 0).argmax(1) == labels).float().mean()
    assert 0.4 < float(right) < 0.6


def test_out_of_fold_is_the_ridge_regression_of_the_other_folds():
    from src.data.splits import fold_mask
    from src.dataset_report.patch_classifier import RIDGE

    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(90, 12, generator=generator), torch.arange(90) % 3
    features[:, -1] = 1
    shrunk = RIDGE * torch.eye(12)
    shrunk[-1, -1] = 0  # but not the intercept
    scores = out_of_fold(features, labels, 3, 4, 5)
    held = fold_mask(labels, 4, 2, 5)
    known, targets = features[~held], torch.nn.functional.one_hot(labels[~held], 3).float() * 2 - 1
    weights = torch.linalg.solve(known.T @ known + shrunk, known.T @ targets)
    torch.testing.assert_close(scores[held], features[held] @ weights, atol=1e-4, rtol=1e-4)


def test_confident_joint_of_a_worked_case():
    probs = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6]])
    joint = confident_learning.confident_joint(probs, torch.tensor([0, 0, 0, 1, 1]))
    # Usual: 0.6 for class 0, 0.75 for class 1; the last image is sure of neither.
    assert joint.tolist() == [[2, 1], [0, 1]]
    margins = confident_learning.margins(probs.log(), torch.tensor([0, 0, 0, 1, 1]))
    assert int(margins.argmin()) == 2
    assert float(margins[2]) == pytest.approx(np.log(0.2 / 0.8), abs=1e-5)


def test_sharpened_keeps_the_order_and_fits():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 4, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    found = confident_learning.sharpened(logits / 100, labels)
    assert float((found / logits).median()) == pytest.approx(1, rel=0.25)


def test_thumbnails_do_not_overlap_and_the_first_is_there():
    points = np.random.default_rng(0).random((500, 2))
    kept = embeddings.place(points, 0.08)
    assert kept[0] == 0
    gaps = np.abs(points[kept][:, None] - points[kept][None]).max(2) + np.eye(len(kept))
    assert gaps.min() >= 0.08
    rest = np.setdiff1d(np.arange(500), kept)
    assert (np.abs(points[rest][:, None] - points[kept][None]).max(2).min(1) < 0.08).all()


def test_tiles_and_captions():
    pictures = image_grids.to_rgb(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1) * 80)
    sheet = image_grids.tile(pictures, 2, gap=1)
    assert sheet.shape == (3, 3, 3)
    assert sheet[0, 2, 0] == pytest.approx(80 / 255)
    assert sheet[1, 1, 0] == 1
    assert image_grids.shorten("a$b$c") == r"a\$b\$c"


def test_small_pictures_keep_a_narrow_gap():
    """The gap of three-pixel pictures is a tenth of them, whole pixels stay whole, large ones stay as they are."""
    pictures = np.random.default_rng(0).random((2, 3, 3, 3)).astype(np.float32)
    fine = image_grids.fine(pictures)
    assert fine.shape == (2, 24, 24, 3)
    assert (fine[:, ::8, ::8] == pictures).all() and (fine[:, 7::8, 7::8] == pictures).all()
    assert image_grids.fine(np.ones((1, 28, 28, 3))).shape == (1, 28, 28, 3)


@pytest.mark.parametrize("most", [1, 3, 7, 60, 1400])
def test_counts_have_whole_ticks(most):
    figure = figures.counts({"train": [most, 1], "val": [0, 0], "test": [1, 0]}, ["a", "b"])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ticks = [float(text.get_text().replace(",", "")) for text in axes.get_yticklabels()]
    assert ticks == pytest.approx(axes.get_yticks().tolist())


def test_names_on_maps_stay_inside():
    """Long names of classes at the corners of a map."""
    points = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.float32).repeat(5, 0)
    images = torch.randint(256, (20, 1, 9, 9), dtype=torch.uint8)
    labels = torch.arange(4).repeat_interleave(5)
    figure, _ = thumbnails(points, images, labels, ["quadrilateral", "x", "wonderful", "1234"], ("one", "two"))
    figure.draw_without_rendering()
    frame = figure.axes[0].get_window_extent()
    for text in figure.axes[0].texts:
        box = text.get_bbox_patch().get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text


def test_one_thing_is_no_plural():
    assert [many(0, "pair"), many(1, "copy", "copies"), many(1200, "copy", "copies")] == [
        "0 pairs",
        "1 copy",
        "1,200 copies",
    ]


@pytest.fixture(scope="module")
def planted() -> tuple[dict, dict]:
    """The bundled digits with planted copies and labels, what the report says, and what was planted."""
    train, test, names = scans()
    generator = torch.Generator().manual_seed(7)
    images, labels = train.images.clone(), train.labels.clone()
    leak = torch.randperm(len(test), generator=generator)[:12]
    target = torch.randperm(len(images), generator=generator)[:12]
    exact, shifted, noisy = target.split(4)
    images[exact] = test.images[leak[:4]]
    images[shifted] = (test.images[leak[4:8]].float() * 0.8 + 30).round().to(torch.uint8)
    noise = torch.randn(4, *images.shape[1:], generator=generator) * 4
    images[noisy] = (test.images[leak[8:]].float() + noise).clamp(0, 255).to(torch.uint8)
    labels[target] = test.labels[leak]
    labels[exact[0]] = (labels[exact[0]] + 1) % 10
    rest = torch.arange(len(images))[~torch.isin(torch.arange(len(images)), target)]
    flipped = rest[torch.randperm(len(rest), generator=generator)[:20]]
    labels[flipped] = (labels[flipped] + torch.randint(1, 10, (20,), generator=generator)) % 10
    look = ReportContext(collection(Part(images, labels, train.rows, len(images)), test, names), suspects=60)
    found = {name: SECTIONS[name](look) for name in ("neighbours", "labels")}
    return found, {"leak": leak, "target": target, "flipped": flipped, "exact": exact}


def test_planted_copies_across_splits_are_found(planted):
    found, true = planted
    numbers = found["neighbours"].numbers
    assert numbers["identical"]["leak"] == 4
    assert numbers["identical"]["contradicting"] == 1
    pairs = {(group["train"][0], group["test"][0]) for group in numbers["identical"]["groups"] if group["test"]}
    assert pairs == set(zip(true["exact"].tolist(), true["leak"][:4].tolist(), strict=True))
    near = {tuple(pair["rows"]) for pair in numbers["near"]["test_train"][:10]}
    assert set(zip(true["leak"][4:].tolist(), true["target"][4:].tolist(), strict=True)) <= near


def test_planted_labels_are_ranked_first(planted):
    found, true = planted
    ranked = [row["row"] for row in found["labels"].numbers["ranked"]]
    wrong = [*true["flipped"].tolist(), int(true["exact"][0])]
    assert len(set(ranked[:42]) & set(wrong)) >= 19
    assert found["labels"].numbers["agree"] > 0.93


def test_rare_classes_are_no_suspects():
    """Clean labels of classes with 97, 60, 30, 3, 1 and 0 images: the small ones are named, nothing is doubted."""
    train, test, names = scans()
    rows = torch.cat([(train.labels == k).nonzero().flatten()[:n] for k, n in enumerate((97, 60, 30, 3, 1))])
    part = Part(train.images[rows], train.labels[rows], rows, len(rows))
    found = SECTIONS["labels"](ReportContext(collection(part, test, names)))
    assert found.numbers["agree"] > 0.97
    assert found.numbers["surely"] <= found.numbers["differ"]
    assert found.numbers["judged"] == 187
    assert {row["looks_like"] for row in found.numbers["ranked"]} <= set(names[:3])
    assert "fewer than 5 images" in found.text[-1] and "3, 4, 5" in found.text[-1]


def test_a_poor_judge_says_so():
    """Labels drawn at random: more answers differ than are surely doubted, and the page warns."""
    train, test, names = scans()
    labels = torch.randint(10, (len(train),), generator=torch.Generator().manual_seed(0))
    found = SECTIONS["labels"](
        ReportContext(collection(Part(train.images, labels, train.rows, len(labels)), test, names))
    )
    assert found.numbers["poor"]
    assert 0 < found.numbers["surely"] <= found.numbers["differ"]
    assert "this judge is poor" in " ".join(found.text)


def test_pictures_without_any_difference(tmp_path):
    """White pages only: words instead of numbers that are none."""
    images, labels = torch.full((24, 1, 12, 12), 255, dtype=torch.uint8), torch.arange(24) % 2
    part = Part(images, labels, torch.arange(24), 24)
    look = ReportContext(collection(part, part, ("a", "b")), augments={"shift": Shift(2)})
    chapters = ["examples", "ink", "maps", "neighbours", "outliers", "labels", "augment"]
    numbers = write_dataset_report(look, chapters, tmp_path, "test", lambda name: None)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    text = re.sub('src="data:[^"]*"', "", (tmp_path / "report.html").read_text())
    assert text.count("No two images differ in shape") == 2
    assert not re.search(r"\bnan\b", text)
    assert numbers["maps"] == {}


def test_predictions_of_a_sweep_are_read_and_checked(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels, rows = torch.arange(40) % 4, torch.arange(100, 140)
    logits = torch.randn(40, 4, generator=generator)
    for fold in range(2):
        part = slice(fold, None, 2)
        (tmp_path / str(fold)).mkdir()
        columns = {"index": rows[part], "labels": labels[part], "logits": logits[part]}
        np.savez(tmp_path / str(fold) / "predictions.npz", **{k: v.numpy() for k, v in columns.items()})
    read = confident_learning.read_predictions(str(tmp_path), rows, labels, 4)
    torch.testing.assert_close(read, logits.log_softmax(1))
    with pytest.raises(InputError, match="other labels"):
        confident_learning.read_predictions(str(tmp_path), rows, labels.flip(0), 4)
    with pytest.raises(InputError, match="4 classes, the data have 5"):
        confident_learning.read_predictions(str(tmp_path), rows, labels, 5)
    (tmp_path / "1" / "predictions.npz").unlink()
    with pytest.raises(InputError, match="leave out 20 of 40"):
        confident_learning.read_predictions(str(tmp_path), rows, labels, 4)
    with pytest.raises(InputError, match="holds no predictions"):
        confident_learning.read_predictions(str(tmp_path / "nowhere"), rows, labels, 4)


class Reader(HTMLParser):
    """Counts what stands in a page, and what it would have to fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.outside = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.images += [given] if tag == "img" else []
        self.outside += [
            given[key]
            for key in ("src", "href")
            if given.get(key, "#")[:5] not in ("data:", "#" + given.get(key, "")[1:5])
        ]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path, names) -> Reader:
    page = Reader()
    text = path.read_text()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert page.links == [f"#{name}" for name in names]
    assert set(names) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(image["alt"] for image in page.images)
    assert "prefers-color-scheme: dark" in text
    return page


def report_of(data: ImageData, folder, names=None, max_images=60_000, **options) -> dict:
    look = ReportContext(
        collect(data, max_images, 0), normalize=data.normalize, augments={"shift": Shift(2)}, **options
    )
    return write_dataset_report(look, choose_sections(names), folder, "test", lambda name: None)


def test_report_on_a_few_coloured_pictures(picture_folder, tmp_path):
    """Two classes of 24 pictures in three channels, another size; every chapter."""
    data = ImageData("folder", root=str(picture_folder), val=0.15, size=36, channels=3)
    numbers = report_of(data, tmp_path, tsne_images=100)
    assert files(tmp_path) == {"report.html", "report.json", *(f"figures/{name}.png" for name in PICTURES)}
    page = check_page(tmp_path / "report.html", list(SECTIONS))
    assert len(page.images) == len(PICTURES)
    assert numbers["counts"]["totals"] == {"train": 32, "val": 6, "test": 10}
    assert numbers["labels"]["agree"] == 1
    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert written["classes"] == ["cross", "ring"]
    for name in PICTURES:
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_report_on_pictures_that_are_not_held_in_memory(picture_folder, tmp_path):
    data = ImageData("folder", root=str(picture_folder), val=0.15, memory_gb=0, num_workers=0)
    numbers = report_of(data, tmp_path, ["counts", "neighbours", "labels"], max_images=20)
    assert numbers["looked_at"] == {"train": 20, "test": 10}
    assert "A sample of 20 of 38 training images" in (tmp_path / "report.html").read_text()
    assert sum(numbers["counts"]["totals"].values()) == 48
    assert {row["row"] for row in numbers["labels"]["ranked"]} < set(range(38))


def test_a_class_with_one_picture(tmp_path):
    """And names that are no HTML, and pictures without ink."""
    for part, counts in (("train", (6, 6, 1)), ("test", (2, 2, 1))):
        for name, count in zip(("<b>&", "$x$", "one"), counts, strict=True):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for index in range(count):
                grey = np.full((12, 12), 0 if name == "<b>&" else 40 * index + 30, np.uint8)
                grey[2 : 4 + index] = 200 if name != "<b>&" else 0
                Image.fromarray(grey).save(tmp_path / "data" / part / name / f"{index}.png")
    data = ImageData("folder", root=str(tmp_path / "data"), val=3, size=12)
    numbers = report_of(data, tmp_path / "run")
    text = (tmp_path / "run/report.html").read_text()
    check_page(tmp_path / "run/report.html", list(SECTIONS))
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text
    assert "Alone in its class, and left out: 1 image." in text
    assert numbers["ink"]["blank"] >= 6
    assert numbers["neighbours"]["identical"]["train"] == 6  # five of no ink, and one of another class
    assert numbers["neighbours"]["identical"]["contradicting"] == 1


def test_labels_that_are_numbers_are_refused():
    with pytest.raises(InputError, match="the report is about classes"):
        collect(ImageData("digits", val=0.15, target="angle"), 1000, 0)


def test_sections_are_chosen_in_the_order_of_the_page():
    assert choose_sections(None) == list(SECTIONS)
    assert choose_sections(["labels", "counts"]) == ["counts", "labels"]
    assert choose_sections("maps") == ["maps"]
    with pytest.raises(InputError, match=r"sections=\['x'\]: some of counts, examples"):
        choose_sections(["maps", "x"])
    with pytest.raises(InputError, match="null for all"):
        choose_sections([])


def test_the_same_seed_gives_the_same_report():
    train, test, names = scans()
    looks = [
        ReportContext(collection(train, test, names), augments={"shift": Shift(), "none": Identity()}) for _ in range(2)
    ]
    for name in ("examples", "labels", "augment"):
        assert SECTIONS[name](looks[0]).numbers == SECTIONS[name](looks[1]).numbers


def test_nothing_but_duplicates_depends_on_the_test_images():
    train, test, names = scans()
    other = with_images(test, 255 - test.images)
    for name in ("examples", "averages", "pixels", "ink", "outliers", "labels"):
        found = [SECTIONS[name](ReportContext(collection(train, part, names))).numbers for part in (test, other)]
        assert found[0] == found[1], name


def test_page_of_a_section_without_pictures(tmp_path):
    from src.dataset_report.html import page

    text = page("a <title>", "about", {"one": Section("One & only", ["1 < 2"])}, {}, ["note"])
    assert "a &lt;title&gt;" in text and "1 &lt; 2" in text
    assert ReportFigure("x", None, "", "").name == "x"


@pytest.mark.slow
def test_report_on_the_bundled_digits_as_a_user_types_it(tmp_path):
    done = run("src.report", "data=digits", f"hydra.run.dir={tmp_path}/run", "augment=affine", "augment.rotate_deg=40")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    expected = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "report.log", "status.json"}
    pictures = {f"figures/{name}.png" for name in PICTURES}
    assert files(tmp_path / "run") == expected | pictures | {"report.html", "report.json"}
    numbers = json.loads((tmp_path / "run/report.json").read_text())
    assert numbers["counts"]["totals"] == {"train": 1221, "val": 216, "test": 360}
    options = {path.stem for path in (ROOT / "conf/augment").glob("*.yaml")}
    assert set(numbers["augment"]) == options - {"none"} | {"normalised"}
    assert numbers["augment"]["affine"]["slant"] > 2 * numbers["augment"]["elastic"]["slant"]
    assert re.search(r"open .*report.html", done.stdout)
    page = (tmp_path / "run/report.html").read_text()
    assert "python -m src.report data=digits augment=affine augment.rotate_deg=40 — " in page
    assert "a row of the training file, from 0" in " ".join(numbers["notes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sections=[x]"], "sections=['x']: some of counts, examples, averages"),
        (["max_images=3"], "max_images=3: a whole number, 50 to 200,000"),
        (["predictions=/nowhere", "sections=labels"], "predictions=/nowhere holds no predictions.npz"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path):
    done = run("src.report", "data=digits", f"hydra.run.dir={tmp_path}/run", *words)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


@pytest.mark.slow
def test_what_is_planted_in_the_real_mnist_is_found(mnist_root, tmp_path):
    """All 60,000 training images, 100 labels of which are flipped and 15 replaced by test images; drawn by seed 5."""
    source = load_source("mnist", root=str(mnist_root), download=False)
    (images, labels), (others, truth) = source.train(), source.test()
    images, wrong, generator = images.clone(), labels.clone(), torch.Generator().manual_seed(5)
    rows = torch.randperm(len(labels), generator=generator)
    flipped, target = rows[:100], rows[100:115]
    wrong[flipped] = (labels[flipped] + torch.randint(1, 10, (100,), generator=generator)) % 10
    leak = torch.randperm(len(truth), generator=generator)[:15]
    copies = others[leak].float()
    copies[5:10] = copies[5:10] * 0.8 + 30
    copies[10:] += torch.randn(copies[10:].shape, generator=generator) * 4
    images[target], wrong[target] = copies.round().clamp(0, 255).to(torch.uint8), truth[leak]
    raw = tmp_path / "KMNIST" / "raw"  # a data set of the same format, whose files may be any
    raw.mkdir(parents=True)
    for part, pictures, classes in (("train", images, wrong), ("t10k", others, truth)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pictures[:, 0].numpy()))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(classes.to(torch.uint8).numpy()))

    where = ["data=kmnist", f"data.root={tmp_path}", "data.download=false", f"hydra.run.dir={tmp_path}/run"]
    done = run("src.report", *where, "sections=[neighbours,labels]")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "run/report.json").read_text())
    ranked = [row["row"] for row in numbers["labels"]["ranked"]]
    assert len(ranked) == 200
    assert len(set(ranked) & set(flipped.tolist())) >= 90
    assert numbers["labels"]["agree"] > 0.975
    found = numbers["neighbours"]
    pairs = {(group["train"][0], group["test"][0]) for group in found["identical"]["groups"] if group["test"]}
    assert pairs == set(zip(target[:5].tolist(), leak[:5].tolist(), strict=True))
    near = {tuple(pair["rows"]) for pair in found["near"]["test_train"]}
    assert set(zip(leak[5:].tolist(), target[5:].tolist(), strict=True)) <= near
    assert len(near) < 20
