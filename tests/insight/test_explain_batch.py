"""Images and methods are selected as requested; an explanation as captions, records, a table and figures."""

import math
from dataclasses import replace

import pytest
import torch

from src.data.batches import BatchDataset
from src.data.info import DataInfo
from src.errors import InputError
from src.inference.model import InferenceModel
from src.insight import layer_figures
from src.insight.attribution import METHODS
from src.insight.attribution_figures import Caption, neighbor_figure
from src.insight.explain_batch import add_neighbors, select_images, select_methods
from src.insight.explanation import Explanation, explanation_table, image_records, make_captions
from src.insight.summary import summarize
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.pretrained import Pretrained
from tests.insight.striped_patches import INFO, SHAPE


def test_images_are_selected_by_which():
    outputs = torch.tensor([[5.0, 0], [0.1, 0], [0, 5], [3, 0], [0, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert select_images("worst", 2, outputs, labels, INFO).tolist() == [2, 3]
    assert select_images("best", 2, outputs, labels, INFO).tolist() == [0, 4]
    assert select_images("uncertain", 2, outputs, labels, INFO).tolist() == [1, 4]
    random = select_images("random", 3, outputs, labels, INFO, seed=1)
    assert random.tolist() == sorted(set(random.tolist()))
    assert torch.equal(random, select_images("random", 3, outputs, labels, INFO, seed=1))
    number = DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0)
    assert select_images("worst", 1, torch.tensor([[0.1], [0.9]]), torch.tensor([0.0, 0.0]), number).tolist() == [1]
    for which, info, message in (("odd", INFO, "which=odd"), ("uncertain", number, "which=uncertain")):
        with pytest.raises(InputError, match=message):
            select_images(which, 1, outputs, labels, info)


def test_an_unsupported_method_is_refused():
    mlp, lenet = MLP(SHAPE, 10), LeNet(SHAPE, 10)
    summaries = summarize(mlp, SHAPE), summarize(lenet, SHAPE)
    assert select_methods(None, mlp, None, summaries[0])[0] == [name for name in METHODS if name != "grad_cam"]
    assert select_methods(None, lenet, None, summaries[1]) == (list(METHODS), "features.3")
    assert "grad_cam" not in select_methods(None, lenet, "head.0", summaries[1])[0]
    for net, layer, requested, expected in [
        (mlp, None, ["grad_cam"], "MLP has none; give saliency, integrated_gradients, smooth_grad, occlusion"),
        (lenet, "head.0", ["grad_cam"], "layer=head.0 has none"),
        (mlp, None, ["lime"], "methods=lime: one or more of saliency"),
    ]:
        with pytest.raises(InputError, match=expected):
            select_methods(requested, net, layer, summaries[0] if net is mlp else summaries[1])


def test_grad_cam_avoids_maps_of_one_pixel():
    net = Pretrained(SHAPE, 10, weights=None, size=32)
    _, layer = select_methods(None, net, None, summarize(net, SHAPE))
    assert layer == "net.layer3.1.bn2"  # 2x2; layer4 is 1x1


def test_an_explanation_as_text():
    explanation = Explanation(
        images=torch.zeros(2, *SHAPE),
        names=["test row 1", "test row 2"],
        outputs=torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        targets=torch.tensor([0, 0]),
        rows=[1, 2],
        labels=torch.tensor([0, 0]),
    )
    one, two = make_captions(explanation, INFO)
    assert one == Caption("test row 1", "horizontal  88.1 %", "true: horizontal  88.1 %", correct=True, note="")
    assert (two.correct, two.note) == (False, "maps: horizontal")
    records = image_records(explanation, INFO)
    assert records[1]["prediction"] == "vertical"
    assert records[1]["explained"] == "horizontal"
    assert [record["row"] for record in records] == [1, 2]
    assert sum(records[1]["probs"].values()) == pytest.approx(1)
    assert "73.11 %" in explanation_table(records)
    calibrated = image_records(replace(explanation, temperature=2.0), INFO)[1]["probs"]
    assert calibrated["vertical"] == pytest.approx(1 / (1 + math.exp(-0.5))), "as predict and the server say it"
    number = DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0)
    explanation = Explanation(
        torch.zeros(1, *SHAPE), ["a"], torch.tensor([[-0.5]]), torch.tensor([0]), labels=torch.tensor([0.1])
    )
    caption = make_captions(explanation, number)[0]
    assert (caption.prediction, caption.truth) == ("-22.5 deg", "true: 4.5 deg")
    assert image_records(explanation, number)[0]["estimate"] == pytest.approx(-22.5)


def test_nearest_pictures_are_named_by_their_files():
    explanation = Explanation(
        torch.zeros(1, *SHAPE), ["a/1.png"], torch.tensor([[2.0, 0.0]]), torch.tensor([0]), labels=torch.tensor([0])
    )
    net = InferenceModel(LeNet(SHAPE, 2), INFO, {})
    images = torch.randint(0, 255, (3, *SHAPE), dtype=torch.uint8)
    split = BatchDataset(images, torch.tensor([0, 1, 0]), torch.tensor([2, 1]), ("b/0.png", "b/1.png", "b/2.png"))
    add_neighbors(explanation, net, 2, split, torch.arange(2))
    nearest = image_records(explanation, INFO)[0]["nearest"]
    assert [f"b/{row}.png" for row in nearest["rows"]] == nearest["files"]
    assert sorted(nearest["files"]) == ["b/1.png", "b/2.png"]


def texts_of(figure) -> list[str]:
    texts = [text for axes in figure.axes for text in (axes.xaxis.label, axes.title, *axes.texts)]
    return [text.get_text() for text in [*figure.texts, *texts] if text.get_text()]


def test_the_text_under_a_neighbor_is_no_wider_than_its_image():
    names = ["straight-left-leaning", "class_name_12", "-44.9 deg", "T-shirt/top", "7"]
    images, near = 255 * torch.rand(8, *SHAPE), 255 * torch.rand(8, 5, *SHAPE)
    distances = torch.tensor([[0.12, 112.3, 12.3, 3.4, 2.2]]).expand(8, 5)
    places = [["row 12345", "…picture_9.jpeg", "…/DSC_0001.JPG", "…mm/wwm_MM.png", "…/a b/ä-12.png"]] * 8
    figure = neighbor_figure(images, [Caption("a", "3")] * 8, near, [names] * 8, distances, "note", places)
    figure.draw_without_rendering()
    for axes in figure.axes:
        if axes.get_xlabel():
            text, image = axes.xaxis.label.get_window_extent(), axes.get_window_extent()
            assert image.x0 - 3 <= text.x0 < text.x1 <= image.x1 + 3, axes.get_xlabel()
    assert any("strai…" in text and "row 12345" in text for text in texts_of(figure))


def test_a_single_value_is_printed():
    maps = {"conv": torch.rand(2, 5, 5), "angle": torch.tensor([0.123456])}
    assert "0.123" in texts_of(layer_figures.feature_map_figure(torch.zeros(SHAPE), maps, {}, "maps"))
    assert "0.123" in texts_of(layer_figures.layer_figure(torch.zeros(1, *SHAPE), maps["angle"].unsqueeze(0), "head"))
