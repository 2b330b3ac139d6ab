"""Data in tasks: which images each task has, and that a split never leaks into another."""

import pytest
import torch
from PIL import Image

from src.data.changed_images import Permuted, Rotated
from src.data.data_sets import DataSets
from src.data.datamodule import ImageData
from src.data.scenario import SplitClasses
from src.data.task_data import TaskData
from src.errors import InputError
from tests.data.corrections import make_store
from tests.photo_files import write_photos

SMALL = {"name": "kmnist", "download": False, "val": 50, "batch_size": 16}


def read(root, scenario, **options) -> TaskData:
    data = TaskData(scenario, **{**SMALL, "root": str(root), **options})
    data.setup()
    return data


@pytest.mark.parametrize("tasks", [2, 3, 5, 10])
def test_split_classes_share_the_classes_out_evenly_by_seed(data_root, tasks):
    data = read(data_root, SplitClasses(tasks=tasks))
    groups = data.source.task_classes
    assert sorted(label for group in groups for label in group) == list(range(10))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1 and data.num_tasks == len(groups) == tasks
    assert groups == read(data_root, SplitClasses(tasks=tasks)).source.task_classes
    others = [read(data_root, SplitClasses(tasks=tasks, seed=seed)).source.task_classes for seed in (1, 2)]
    assert any(other != groups for other in others)
    labels = data.train_set.labels[data.train_set.indices]
    for task, group in enumerate(groups):
        assert set(labels[data.positions(task)].tolist()) <= set(group)
    assert sum(len(data.positions(task)) for task in range(tasks)) == len(data.train_set)


def test_the_order_of_classes_can_be_given(data_root):
    names = read(data_root, SplitClasses()).source.class_names
    data = read(data_root, SplitClasses(order="classes"))
    assert data.source.task_classes == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
    assert data.source.task_names[0] == f"{names[0]}+{names[1]}"
    order = [names[label] for label in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)]
    assert read(data_root, SplitClasses(order=order, tasks=2)).source.task_classes == ((5, 6, 7, 8, 9), (0, 1, 2, 3, 4))
    lists = [[names[0]], list(names[1:4]), list(names[4:])]
    data = read(data_root, SplitClasses(order=lists))
    assert data.source.task_classes == ((0,), (1, 2, 3), (4, 5, 6, 7, 8, 9)) and data.num_tasks == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"order": [[3, 5], 7]},
            r"^scenario.order=\[\[3,5\],7\]: classes, or lists of classes, one per task; not both$",
        ),
        ({"order": [["o", "ki"]]}, r"^scenario.order=\[\[o,ki\]\]: one task; give two lists or more$"),
        ({"order": [["o"], ["ki"]], "tasks": 3}, "has 2 tasks, scenario.tasks=3: leave scenario.tasks out$"),
        ({"order": []}, r"^scenario.order=\[\]: seed, classes, or a list of classes$"),
        ({"tasks": 1}, "^scenario.tasks=1: a whole number, at least 2, or null$"),
    ],
)
def test_an_order_that_is_none_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        SplitClasses(**options)


def test_an_order_lacks_classes_before_it_lacks_tasks(data_root):
    with pytest.raises(InputError, match=r"^scenario.order lacks .*: list every class once, or give data.classes$"):
        read(data_root, SplitClasses(order=["o"]))


def test_splits_are_those_of_the_data_set_without_tasks(data_root):
    plain = ImageData(**SMALL, root=str(data_root))
    plain.setup()
    data = read(data_root, SplitClasses())
    assert torch.equal(plain.train_set.indices, data.train_set.indices)
    assert torch.equal(plain.val_set.indices, data.val_set.indices)
    assert torch.equal(plain.test_set.labels, data.test_set.labels)


@pytest.mark.parametrize("scenario", [Permuted(tasks=3), Rotated(tasks=3, range_deg=90)])
def test_copies_of_an_image_are_all_on_one_side(data_root, scenario):
    data, plain = read(data_root, scenario), ImageData(**SMALL, root=str(data_root))
    plain.setup()
    count = len(plain.train_set.labels)
    assert len(data.train_set) == 3 * len(plain.train_set) and len(data.test_set) == 3 * len(plain.test_set)
    assert set((data.val_set.indices % count).tolist()) == set(plain.val_set.indices.tolist())
    assert not set((data.train_set.indices % count).tolist()) & set(plain.val_set.indices.tolist())
    assert torch.equal(data.train_set.task_of_each, data.train_set.indices // count)
    first = data.positions(0)
    images, labels = data.train_set[first]
    originals, names = plain.train_set[torch.arange(len(plain.train_set))]
    assert torch.equal(images, originals) and torch.equal(labels, names)
    assert (data.info.mean, data.info.std) == (plain.info.mean, plain.info.std)


def test_pixels_are_permuted_alike_in_every_image_of_a_task(data_root):
    data = read(data_root, Permuted(tasks=3))
    first, second, third = (data.train_set[data.positions(task)][0].flatten(1) for task in range(3))
    assert torch.equal(first.sort(1).values, second.sort(1).values)
    assert not torch.equal(first, second) and not torch.equal(second, third)
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    changed = data.scenario.change(first[:, order].view(-1, 1, 28, 28), 1).flatten(1)
    assert torch.equal(changed.sort(1).values, second.sort(1).values)
    columns = {tuple(column) for column in first.T.tolist()}
    assert {tuple(column) for column in second.T.tolist()} == columns


def test_a_border_changes_places_with_the_other_pixels(data_root):
    plain, data = read(data_root, Permuted(tasks=3)), read(data_root, Permuted(tasks=3, pad=2))
    assert data.info.shape == (1, 32, 32)
    for split in ("train_set", "test_set"):
        padded, images = getattr(data, split)[torch.arange(5)][0], getattr(plain, split)[torch.arange(5)][0]
        assert torch.equal(padded[:, :, 2:-2, 2:-2], images) and padded.sum() == images.sum()
    first, second = (data.train_set[data.positions(task)][0].flatten(1) for task in range(2))
    assert torch.equal(first.sort(1).values, second.sort(1).values) and not torch.equal(first, second)
    assert data.source.read_as((1, 32, 32)) is data.source


def test_a_folder_with_a_border_is_read_at_the_size_of_a_network(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (20, 20), (60 * number, 10, 200)).save(tmp_path / name / f"{number}.png")
    options = {"name": "folder", "root": str(tmp_path), "size": None, "channels": None, "val": 2}
    data = TaskData(Permuted(tasks=2, pad=3), **options)
    assert data.source.read_as((3, 30, 30)).train().images.shape == (12, 3, 30, 30)


def test_images_turn_counterclockwise_by_the_angle_of_their_task(data_root):
    data = read(data_root, Rotated(tasks=2, range_deg=180))
    first, second = (data.train_set[data.positions(task)][0] for task in range(2))
    assert (first.rot90(1, (2, 3)).int() - second.int()).abs().max() <= 1
    assert data.source.task_names == ("0°", "90°")


def test_draws_are_of_each_task(data_root):
    data = read(data_root, Permuted(tasks=3), shots=2)
    assert [len(data.positions(task)) for task in range(3)] == [20, 20, 20]
    with pytest.raises(InputError, match=r"data.shots=500 is more than these classes have to train: .* of task 1 has"):
        read(data_root, Permuted(tasks=3), shots=500)


def test_data_sets_come_one_after_another(data_root):
    data = read(data_root, DataSets(then=["fashion_mnist"]))
    assert data.source.task_names == ("kmnist", "fashion_mnist") and data.info.num_classes == 20
    assert data.source.task_classes == (tuple(range(10)), tuple(range(10, 20)))
    for task, name in enumerate(("kmnist", "fashion_mnist")):
        alone = ImageData(**{**SMALL, "name": name}, root=str(data_root))
        rows = (data.test_set.task_of_each == task).nonzero().flatten()
        assert torch.equal(data.test_set[rows][0], alone.test_set.images)


def test_a_mapping_changes_only_what_it_says(data_root):
    plain = read(data_root, DataSets(then=["kmnist"]))
    told = read(data_root, DataSets(then=[{"name": "kmnist", "quarter_turns": 1}]))
    later = (plain.test_set.task_of_each == 1).nonzero().flatten()
    assert torch.equal(told.test_set[later][0], plain.test_set[later][0].rot90(1, (2, 3)))


def test_folders_of_colour_pictures_come_one_after_another(tmp_path):
    first = write_photos(tmp_path / "a", 9, seed=0, names=("cats", "dogs"))
    second = write_photos(tmp_path / "b", 9, seed=1, names=("dogs", "birds"))
    options = {"name": "folder", "root": str(first), "val": 0.3, "size": 32, "channels": 3}
    data = TaskData(DataSets(then=[str(second)]), **options)
    data.setup()
    assert data.info.class_names == ("cats", "dogs", "birds") and data.info.shape == (3, 32, 32)
    assert data.source.task_classes == ((0, 1), (1, 2)) and data.source.task_names == ("a", "b")
    for split in (data.train_set, data.val_set, data.test_set):
        assert set(split.task_of_each.tolist()) == {0, 1}
    lazy = TaskData(DataSets(then=[str(second)]), **options, memory_gb=1e-9)
    lazy.setup()
    positions = torch.arange(len(data.train_set))
    assert torch.equal(lazy.train_set[positions][0], data.train_set[positions][0])


def test_corrections_are_a_task_of_their_own(data_root, tmp_path):
    store = tmp_path / "feedback.sqlite"
    make_store(store, 40)
    data = read(data_root, DataSets(then=[{"name": "feedback", "root": str(store), "other_data": True}]))
    images = int((data.train_set.task_of_each == 1).sum() + (data.val_set.task_of_each == 1).sum())
    held_out = int((data.test_set.task_of_each == 1).sum())
    assert images + held_out == 40 and held_out > 0
    assert data.source.task_classes[0] == data.source.task_classes[1]


def test_corrections_of_a_few_classes_are_a_task(data_root, tmp_path):
    store = tmp_path / "feedback.sqlite"
    make_store(store, 5)
    data = read(data_root, DataSets(then=[{"name": "feedback", "root": str(store), "other_data": True}]))
    labels = data.train_set.labels[data.train_set.indices[data.positions(1)]]
    assert 0 < len(labels) <= 5 and set(labels.tolist()) <= set(range(5))


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (None, "scenario.then=null: list the data sets"),
        ("usps", "scenario.then=usps: list the data sets"),
        (["nothing"], "nothing is no folder, no store of corrections and no data set"),
        ([{"root": "x"}], r"scenario.then: \{root:x\} has no name of a data set"),
        ([None], "scenario.then: null is no folder"),
        ([["usps"]], r"scenario.then: \[usps\] is no folder"),
        ([{"name": "kmnist", "colour": 1}], r"scenario.then, kmnist: no option colour: there are root, .*, classes"),
        ([{"name": "nothing"}], "scenario.then, nothing: name=nothing: one of mnist, "),
        ([{"name": "folder"}], "scenario.then, folder: it needs root"),
        (["feedback"], r"feedback is no folder, .* no data set \(mnist, .*digits\)"),
        ([{"name": "kmnist", "ink": 3}], "scenario.then, kmnist: ink=3: one of none, mnist"),
        (["emnist", "nothing"], "nothing is no folder"),
    ],
)
def test_data_sets_that_cannot_be_read_are_refused(data_root, then, message):
    with pytest.raises(InputError, match=message):
        read(data_root, DataSets(then=then))


@pytest.mark.parametrize("memory_gb", [1, 1e-9])
def test_errors_of_a_further_folder_name_it_and_its_own_options(tmp_path, memory_gb):
    first = write_photos(tmp_path / "a", 9, seed=0, names=("cats", "dogs"))
    second = write_photos(tmp_path / "b", 9, seed=1, names=("dogs", "birds"))
    options = {"name": "folder", "root": str(first), "val": 0.3, "size": 32, "channels": 3, "memory_gb": memory_gb}
    with pytest.raises(InputError, match=r"scenario.then, b: size=big: a whole number"):
        TaskData(DataSets(then=[{"name": "folder", "root": str(second), "size": "big"}]), **options)
    broken = next((second / "birds").iterdir())
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match=rf"scenario.then, b: .*{broken.name}.*on_error=skip leaves it out"):
        TaskData(DataSets(then=[str(second)]), **options).setup()
    broken.unlink()
    for picture in (second / "birds").iterdir():
        picture.unlink()
    (second / "birds" / "notes.txt").write_text("none left")
    with pytest.raises(InputError, match=r"scenario.then, b: no training images of birds: give classes="):
        TaskData(DataSets(then=[str(second)]), **options).setup()
