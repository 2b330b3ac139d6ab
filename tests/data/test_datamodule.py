"""Splits, batches, augmentation, normalisation, pictures."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.augment import Affine, Cutout, Elastic, Identity, Shift, Stroke
from src.data.batches import BatchOrder, derive_seed
from src.data.datamodule import ImageData
from src.data.normalize import Normalize, channel_statistics
from src.data.sources.folder import read_picture
from src.data.splits import class_ranks, few_shot, fold_mask, stratified
from src.errors import InputError

LABELS = torch.randint(0, 7, (1003,), generator=torch.Generator().manual_seed(1))
AUGMENTS = {"shift": Shift(), "affine": Affine(), "elastic": Elastic(), "cutout": Cutout(), "stroke": Stroke()}


def make(data_root, **options) -> ImageData:
    return ImageData("kmnist", root=str(data_root), download=False, **{"val": 50, **options})


def test_ranks_number_every_class_from_zero():
    ranks = class_ranks(LABELS, 3)
    for label in range(7):
        assert sorted(ranks[label == LABELS].tolist()) == list(range(int((label == LABELS).sum())))
    assert not torch.equal(ranks, class_ranks(LABELS, 4))


@pytest.mark.parametrize("count", [7, 100, 501, 996])
def test_stratified_is_exact_and_proportional(count):
    mask = stratified(LABELS, count, 0)
    assert int(mask.sum()) == count
    shares = LABELS[mask].bincount(minlength=7) - LABELS.bincount() * count / len(LABELS)
    assert float(shares.abs().max()) <= 1


def test_folds_are_disjoint_covering_and_even():
    masks = torch.stack([fold_mask(LABELS, 5, fold, 0) for fold in range(5)])
    assert torch.equal(masks.sum(0), torch.ones_like(LABELS))
    per_class = torch.stack([LABELS[mask].bincount(minlength=7) for mask in masks])
    assert int((per_class.max(0).values - per_class.min(0).values).max()) <= 1
    assert int(masks.sum(1).max() - masks.sum(1).min()) <= 7


def test_shots_are_exact_and_nested():
    one, five = few_shot(LABELS, 1, 2), few_shot(LABELS, 5, 2)
    assert LABELS[one].bincount().tolist() == [1] * 7
    assert LABELS[five].bincount().tolist() == [5] * 7
    assert bool((five | ~one).all())
    with pytest.raises(InputError, match=r"data\.shots=1000.*class"):
        few_shot(LABELS, 1000, 0)


def test_train_and_validation_share_no_image_and_leave_none_out(data_root):
    data = make(data_root)
    data.setup()
    train, val = data.train_set.indices, data.val_set.indices
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(200))
    assert len(val) == 50


def test_the_validation_split_is_the_same_for_every_seed(data_root):
    splits = []
    for seed in (0, 1):
        data = make(data_root, seed=seed)
        data.setup()
        splits.append(data.val_set.indices.tolist())
    assert splits[0] == splits[1]
    other = make(data_root, split_seed=5)
    other.setup()
    assert other.val_set.indices.tolist() != splits[0]


def test_folds_of_the_module_validate_every_image_once(data_root):
    seen = []
    for fold in range(4):
        data = make(data_root, folds=4, fold=fold)
        data.setup()
        seen += data.val_set.indices.tolist()
    assert sorted(seen) == list(range(200))


def test_shots_and_fraction_leave_validation_alone(data_root):
    full, few, part = make(data_root), make(data_root, shots=2), make(data_root, fraction=0.5)
    for data in (full, few, part):
        data.setup()
        assert torch.equal(data.val_set.indices, full.val_set.indices)
    assert len(few.train_set) == 20
    assert len(part.train_set) == 75


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        batches = BatchOrder(103, 10, seed)
        batches.set_epoch(epoch)
        return torch.cat(list(batches)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1)
    assert sorted(order(3, 2)) == list(range(103))


def test_a_started_order_leaves_out_what_was_done_once():
    whole = list(BatchOrder(103, 10, 0))
    order = BatchOrder(103, 10, 0, start=4)
    assert torch.equal(torch.cat(list(order)), torch.cat(whole[4:]))
    assert len(list(order)) == len(order) == len(whole) == 11


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_images_out(world):
    parts = [torch.cat(list(BatchOrder(101, 10, 0, rank=rank, world=world))).tolist() for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert {row for part in parts for row in part} == set(range(101))
    assert sum(map(len, parts)) - 101 < world


def test_mixed_seeds_differ():
    assert len({derive_seed(a, b) for a in range(50) for b in range(50)}) == 2500


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": "many"}, "batch_size=many"),
        ({"eval_batch_size": -1}, "eval_batch_size"),
        ({"val": 0}, "val=0"),
        ({"val": -3}, "val=-3"),
        ({"val": 12.5}, "whole number"),
        ({"val": 200}, "10 to 190"),
        ({"val": 5}, "10 to 190"),
        ({"val": 0.001}, "10 to 190"),
        ({"shots": 0}, "shots=0"),
        ({"shots": 100}, "shots=100.*class"),
        ({"fraction": 0}, "fraction=0"),
        ({"fraction": 1.5}, r"fraction=1\.5"),
        ({"folds": 1, "fold": 0}, "folds=1"),
        ({"folds": 5}, "fold=None.*0 to 4"),
        ({"folds": 5, "fold": 5}, "fold=5.*0 to 4"),
        ({"fold": 1}, "folds=None"),
        ({"folds": 50, "fold": 0}, "smallest class"),
        ({"seed": -1}, "seed=-1"),
        ({"num_workers": -1}, "num_workers"),
    ],
)
def test_nonsense_is_one_line_that_names_the_key(data_root, given, message):
    with pytest.raises(InputError, match=message) as error:
        make(data_root, **given).setup()
    assert "\n" not in str(error.value)
    assert "data." in str(error.value)


def test_an_unknown_data_set_lists_the_known():
    with pytest.raises(InputError, match=r"imagenet.*mnist.*folder"):
        ImageData("imagenet")


def test_statistics_are_of_the_training_images(data_root):
    data = make(data_root)
    data.setup()
    pixels = data.train_set.images[data.train_set.indices].double() / 255
    assert data.info.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-9)
    assert data.info.std[0] == pytest.approx(float(pixels.std(correction=0)), abs=1e-9)
    normal = data.normalize(data.train_set.images[data.train_set.indices])
    assert float(normal.mean()) == pytest.approx(0, abs=1e-5)
    assert float(normal.std()) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_statistics_of_mnist_are_the_published_ones(mnist_root):
    images = ImageData(root=str(mnist_root), download=False).source.train().images
    mean, std = channel_statistics(images, torch.arange(60_000))
    assert mean[0] == pytest.approx(0.1306605, abs=1e-7)
    assert std[0] == pytest.approx(0.3081079, abs=1e-7)


def test_normalize_is_its_definition():
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = (images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(Normalize(mean, std)(images), expected, atol=1e-6)


@pytest.fixture
def blobs() -> torch.Tensor:
    """Images that keep what is drawn well inside the frame."""
    images = torch.zeros(16, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 10:18, 8:14] = 200
    return images


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentation_is_drawn_per_image_and_repeats(name):
    images = torch.randint(1, 256, (1, 1, 28, 28)).to(torch.uint8).expand(16, -1, -1, -1).contiguous()

    def change(seed):
        return AUGMENTS[name](images, torch.Generator().manual_seed(seed))

    changed = change(0)
    assert changed.shape == images.shape
    assert torch.equal(changed, change(0))
    assert not torch.equal(changed, change(1))
    assert len({bytes(image.to(torch.uint8).numpy()) for image in changed}) > 10, "each image has its own draw"
    assert float(changed.float().min()) >= 0
    assert float(changed.float().max()) <= 255


@pytest.mark.parametrize(
    "nothing",
    [
        Identity(),
        Shift(0),
        Affine(0, 0, 0, 0),
        Elastic(0, rotate_deg=0, scale=0, shear_deg=0, shift_px=0),
        Cutout(0),
        Stroke(0, 0, 0, rotate_deg=0, scale=0, shear_deg=0, shift_px=0),
    ],
)
def test_augmentation_of_strength_zero_is_the_identity(nothing, blobs):
    assert torch.allclose(nothing(blobs, torch.Generator()).float(), blobs.float(), atol=0.05)


def test_shift_moves_whole_pixels_and_loses_no_ink(blobs):
    moved = Shift(3)(blobs, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.flatten(1).sum(1), blobs.flatten(1).sum(1))
    corners = {tuple((image[0] > 0).nonzero()[0].tolist()) for image in moved}
    assert all(7 <= row <= 13 and 5 <= column <= 11 for row, column in corners)
    assert len(corners) > 5


@pytest.mark.parametrize("name", ["affine", "elastic", "shift", "stroke"])
def test_augmentation_never_mirrors(name):
    images = torch.zeros(200, 3, 28, 28, dtype=torch.uint8)
    for channel, (row, column) in enumerate([(6, 8), (20, 8), (20, 19)]):  # the corners of an L
        images[:, channel, row - 1 : row + 2, column - 1 : column + 2] = 255
    changed = AUGMENTS[name](images, torch.Generator().manual_seed(0)).float()
    axis = torch.arange(28.0)
    mass = changed.sum((2, 3))
    rows, columns = (changed.sum(3) @ axis) / mass, (changed.sum(2) @ axis) / mass
    turn = (rows[:, 1] - rows[:, 0]) * (columns[:, 2] - columns[:, 1])
    turn -= (columns[:, 1] - columns[:, 0]) * (rows[:, 2] - rows[:, 1])
    assert bool((turn > 0).all()), "going round the corners turns the same way as in the original"


STILL = {"rotate_deg": 0, "scale": 0, "shear_deg": 0, "shift_px": 0}


def test_strokes_become_thicker_and_thinner_by_up_to_the_knobs(blobs):
    many, alone = blobs.repeat(8, 1, 1, 1), {"blur_px": 0, **STILL}
    changed = Stroke(0.8, 0.5, **alone)(many, torch.Generator().manual_seed(0))
    widths = changed[:, 0, 13].sum(1) / 200  # six pixels before
    assert 5.0 - 1e-3 <= float(widths.min()) < 5.2
    assert 7.4 < float(widths.max()) <= 7.6 + 1e-3
    assert len(widths.unique()) > 100, "a continuous draw"
    thicker, thinner = (Stroke(*px, **alone)(many, torch.Generator().manual_seed(0)) for px in ((1, 0), (0, 0.9)))
    assert bool((thicker >= many - 0.01).all())
    assert bool((thinner <= many + 0.01).all())


def test_blur_keeps_the_ink_and_spreads_it(blobs):
    changed = Stroke(0, 0, 1, **STILL)(blobs, torch.Generator().manual_seed(0))
    ink = blobs.float().sum((1, 2, 3))
    assert torch.allclose(changed.sum((1, 2, 3)), ink, rtol=1e-4)
    columns = torch.arange(28.0)

    def spread(images):
        profile = images.float().sum((1, 2)) / ink.unsqueeze(1)
        return profile @ columns.square() - (profile @ columns).square()

    wider = spread(changed) - spread(blobs)
    assert bool(((wider > -1e-2) & (wider < 1 + 1e-2)).all()), "a variance of up to blur_px squared"
    assert float(wider.max()) > 0.5


def test_stroke_never_erases_a_digit():
    images = torch.zeros(400, 1, 28, 28, dtype=torch.uint8)
    images[:200, 0, 4:24, 14] = images[200:, 0, 14, 14] = 255  # a line one pixel wide, a single dot
    thinned = Stroke(0, 0.9, 0, **STILL)(images, torch.Generator().manual_seed(0))
    assert float(thinned.amax((1, 2, 3)).min()) >= 25.5 - 0.01
    assert float(Stroke()(images, torch.Generator().manual_seed(0)).amax((1, 2, 3)).min()) > 12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Shift(-1),
        lambda: Affine(rotate_deg=90),
        lambda: Affine(scale=1),
        lambda: Cutout(-2),
        lambda: Elastic(sigma_px=0),
        lambda: Stroke(thicken_px=1.5),
        lambda: Stroke(thin_px=1),
        lambda: Stroke(blur_px=-0.1),
        lambda: Stroke(thin_px=True),
        lambda: Elastic(alpha_px="foo"),
        lambda: Affine(shift_px=float("nan")),
    ],
)
def test_augmentation_refuses_nonsense(wrong):
    with pytest.raises(InputError, match=r"augment\."):
        wrong()


def test_only_training_batches_are_augmented_by_seed_epoch_and_step(data_root):
    data = make(data_root, augment=Affine())
    data.setup()
    batch = data.train_set[torch.arange(8)]

    def seen(training=True, epoch=0, step=0):
        progress = SimpleNamespace(current=SimpleNamespace(ready=step))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        precision = SimpleNamespace(convert_input=lambda values: values)
        data.trainer = SimpleNamespace(
            training=training, current_epoch=epoch, fit_loop=loop, global_rank=0, precision_plugin=precision
        )
        return data.on_after_batch_transfer(batch, 0)[0]

    assert torch.equal(seen(training=False), data.normalize(batch[0]))
    assert torch.equal(seen(), seen())
    assert not torch.equal(seen(), seen(epoch=1))
    assert not torch.equal(seen(), seen(step=1))


def test_pictures_of_every_form_are_read(picture_folder):
    data = ImageData("folder", root=str(picture_folder), val=0.2)
    data.setup()
    assert data.info.class_names == ("cross", "ring")
    assert data.info.shape == (1, 28, 28)
    assert len(data.train_set) + len(data.val_set) + len(data.test_set) == 48
    assert len(data.test_set) == 10


def test_streamed_pictures_are_the_held_ones(picture_folder):
    held, streamed = (
        ImageData("folder", root=str(picture_folder), val=0.2, memory_gb=gb, num_workers=2, batch_size=8)
        for gb in (1, 0)
    )
    for data in (held, streamed):
        data.setup()
    assert isinstance(held.train_set.images, torch.Tensor)
    assert not isinstance(streamed.train_set.images, torch.Tensor)
    assert held.info == streamed.info
    for ours, theirs in zip(held.train_dataloader(), streamed.train_dataloader(), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_train_and_test_folders_are_kept_apart(picture_folder, tmp_path):
    shutil.copytree(picture_folder, tmp_path / "train")
    shutil.copytree(picture_folder / "ring", tmp_path / "test" / "ring")
    data = ImageData("folder", root=str(tmp_path), val=0.2)
    data.setup()
    assert len(data.train_set) + len(data.val_set) == 48
    assert data.test_set.labels.tolist() == [1] * 24
    shutil.copytree(picture_folder / "ring", tmp_path / "test" / "square")
    with pytest.raises(InputError, match="square"):
        _ = ImageData("folder", root=str(tmp_path)).test_set


def test_a_picture_keeps_its_shape_and_border(tmp_path):
    wide = np.full((10, 40), 200, np.uint8)
    wide[3:7, 10:30] = 10
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = read_picture(tmp_path / "wide.png", 28, 1)[0]
    assert picture.shape == (28, 28)
    assert picture[:9].unique().tolist() == [200], "filled with the border's level"
    assert int(picture[14, 14]) < 60


def test_transparency_is_white_paper(tmp_path):
    ink = np.zeros((28, 28, 4), np.uint8)
    ink[10:18, 10:18, 3] = 255  # opaque black on nothing
    Image.fromarray(ink).save(tmp_path / "ink.png")
    picture = read_picture(tmp_path / "ink.png", 28, 1)[0]
    assert int(picture[0, 0]) == 255
    assert int(picture[14, 14]) == 0


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    picture = read_picture(tmp_path / "ramp.png", 28, 1)[0]
    assert int(picture[14, 0]) == pytest.approx(128, abs=3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n broken", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_an_unreadable_picture_is_named(tmp_path, picture_folder, content):
    root = tmp_path / "pictures"
    shutil.copytree(picture_folder, root)
    (root / "ring" / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png.*remove or replace"):
        data = ImageData("folder", root=str(root), val=0.2)
        data.setup()
        _ = data.test_set.images


def test_a_huge_picture_is_refused_in_one_line(tmp_path, picture_folder, recwarn):
    """Without Pillow's own warning of it."""
    root = tmp_path / "pictures"
    shutil.copytree(picture_folder, root)
    Image.new("1", (12_000, 9000)).save(root / "ring" / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png has 12000x9000 pixels"):
        data = ImageData("folder", root=str(root), val=0.2)
        data.setup()
        _ = data.test_set
    assert not recwarn.list


def test_one_picture_per_class_is_too_few(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (9, 9)).save(tmp_path / part / name / "only.png")
    with pytest.raises(InputError, match="has 2 training images of 2 classes: give 3 per class, or more"):
        ImageData("folder", root=str(tmp_path), val=0.2).setup()


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        ImageData("folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"needs data\.root"):
        ImageData("folder", root=None)
    with pytest.raises(InputError, match="0 class folders"):
        ImageData("folder", root=str(tmp_path))
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="1 class folder:"):
        ImageData("folder", root=str(tmp_path))
    (tmp_path / "two").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        ImageData("folder", root=str(tmp_path)).setup()
