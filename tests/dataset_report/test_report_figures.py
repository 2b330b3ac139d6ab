"""Figures of the report."""

import numpy as np
import pytest
import torch

from src.data.datamodule import ImageData
from src.dataset_report import image_grids
from src.dataset_report.embeddings import non_overlapping, plot_thumbnails
from src.dataset_report.figures import plot_class_counts
from src.dataset_report.sample import sample_dataset


def test_thumbnails_do_not_overlap_and_fill_the_room():
    points = np.random.default_rng(0).random((500, 2))
    drawn = non_overlapping(points, 0.08)
    assert drawn[0] == 0
    gaps = np.abs(points[drawn][:, None] - points[drawn][None]).max(2) + np.eye(len(drawn))
    assert gaps.min() >= 0.08
    others = np.setdiff1d(np.arange(500), drawn)
    assert (np.abs(points[others][:, None] - points[drawn][None]).max(2).min(1) < 0.08).all()


def test_pictures_are_tiled():
    pictures = image_grids.to_float_rgb(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1) * 80)
    tiled = image_grids.tile_pictures(pictures, 2, gap=1)
    assert tiled.shape == (3, 3, 3)
    assert tiled[0, 2, 0] == pytest.approx(80 / 255)
    assert tiled[1, 1, 0] == 1


def test_small_pictures_keep_a_narrow_gap():
    """Pictures of three pixels are enlarged without interpolation; large ones stay as they are."""
    pictures = np.random.default_rng(0).random((2, 3, 3, 3)).astype(np.float32)
    enlarged = image_grids.enlarge_small(pictures)
    assert enlarged.shape == (2, 24, 24, 3)
    assert (enlarged[:, ::8, ::8] == pictures).all() and (enlarged[:, 7::8, 7::8] == pictures).all()
    assert image_grids.enlarge_small(np.ones((1, 28, 28, 3))).shape == (1, 28, 28, 3)


@pytest.mark.parametrize("most", [1, 3, 7, 60, 1400])
def test_class_counts_have_integer_ticks(most):
    figure = plot_class_counts({"train": [most, 1], "val": [0, 0], "test": [1, 0]}, ["a", "b"])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ticks = [float(text.get_text().replace(",", "")) for text in axes.get_yticklabels()]
    assert ticks == pytest.approx(axes.get_yticks().tolist())


def test_names_on_maps_stay_inside_the_frame():
    """Long class names in the corners of a map."""
    points = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.float32).repeat(5, 0)
    images = torch.randint(256, (20, 1, 9, 9), dtype=torch.uint8)
    labels = torch.arange(4).repeat_interleave(5)
    figure, _ = plot_thumbnails(points, images, labels, ["quadrilateral", "x", "wonderful", "1234"], ("one", "two"))
    figure.draw_without_rendering()
    frame = figure.axes[0].get_window_extent()
    for text in figure.axes[0].texts:
        box = text.get_bbox_patch().get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text


def test_images_of_files_are_named_by_them_and_others_by_their_row(picture_folder):
    data = ImageData("folder", root=str(picture_folder), val=0.2)
    train = sample_dataset(data, 10, 0).train
    assert len(train) == 10 and all((picture_folder / file).is_file() for file in train.files)
    labels = [train.files[row].partition("/")[0] for row in range(10)]
    assert labels == [data.source.class_names[label] for label in train.labels.tolist()]
    assert train.image_name(3) == train.files[3] and train.image_name(3, 6) == f"…{train.files[3][-5:]}"
    assert train.files_of([1, 4]) == {"files": [train.files[1], train.files[4]]}
    digits = sample_dataset(ImageData("digits", val=0.15), 10, 0).train
    assert digits.image_name(3) == f"#{digits.rows[3]}" and digits.files_of([1]) == {}
