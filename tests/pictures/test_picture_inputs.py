"""Pictures that a user names become images of MNIST's form."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from src.data.info import DataInfo
from src.errors import InputError
from src.pictures.inputs import find_pictures, load_picture_images, resolve_ink
from src.pictures.mnist_form import to_mnist_form
from tests.small_data import draw_seven

SHAPE = (1, 28, 28)


def test_pictures_of_any_polarity_and_kind_become_the_same_digit(tmp_path):
    ink = np.asarray(draw_seven()).astype(float)
    rng = np.random.default_rng(0)
    shadow = np.linspace(-20, 20, 120)[None]
    pictures = {
        "light.png": Image.fromarray(ink.astype(np.uint8)),
        "dark.png": Image.fromarray((255 - ink).astype(np.uint8)),
        "grey.png": Image.fromarray((210 - ink * 150 / 255).astype(np.uint8)),
        "sixteen.png": Image.fromarray(((255 - ink) * 257).astype(np.uint16)),
        "paper.png": Image.fromarray(
            (220 - ink * 0.6 + shadow + rng.normal(0, 2, ink.shape)).clip(0, 255).astype("u1")
        ),
        "blue.webp": Image.merge("RGB", [Image.fromarray((255 - ink * s).astype(np.uint8)) for s in (0.9, 0.7, 0.1)]),
    }
    clear = Image.new("RGBA", (120, 120))
    clear.putalpha(draw_seven())
    pictures["clear.png"] = clear
    turned = Image.fromarray((255 - ink).astype(np.uint8)).rotate(90)
    for name, picture in pictures.items():
        picture.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    paths = find_pictures(str(tmp_path))
    assert len(paths) == 8
    images = load_picture_images(paths, SHAPE, ink=True)[0].float()
    assert images.shape == (8, 1, 28, 28)
    reference = images[[path.name for path in paths].index("light.png")]
    for path, image in zip(paths, images, strict=True):
        correlation = torch.corrcoef(torch.stack([image.flatten(), reference.flatten()]))[0, 1]
        assert correlation > 0.96, (path.name, float(correlation))
        assert image.max() > 190


def test_light_ink_on_black_stays_as_it_is(tmp_path):
    scans = torch.from_numpy(load_digits().images[:20] * 15.9).round().to(torch.uint8).unsqueeze(1)
    scans[:, :, :, 0], scans[:, :, :, -1], scans[:, :, 0], scans[:, :, -1] = 0, 0, 0, 0
    formed = to_mnist_form(scans)
    for row, image in enumerate(formed):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{row:02}.png")
        Image.fromarray(255 - image[0].numpy()).save(tmp_path / f"{row:02}_dark.png")
    again, _ = load_picture_images(find_pictures(str(tmp_path)), SHAPE, ink=True)
    assert torch.equal(again[::2], formed)
    assert torch.equal(again[1::2], formed)


def test_an_unreadable_picture_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    Image.new("L", (40, 40), 230).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match=r"blank.png holds no ink"):
        load_picture_images([tmp_path / "blank.png"], SHAPE, ink=True)
    with pytest.raises(InputError, match=r"notes.png cannot be read as a picture"):
        load_picture_images([tmp_path / "notes.png"], SHAPE, ink=True)
    for images, message in [
        (f"{tmp_path}/nothing.png", "there is no such file"),
        (f"{tmp_path}/*.jpg", "there is no such file, folder or pattern"),
        (f"{tmp_path}/empty", "holds no pictures"),
        ([3], "images=3"),
    ]:
        with pytest.raises(InputError, match=message):
            find_pictures(images)
    draw_seven().save(tmp_path / "one.png")
    assert [p.name for p in find_pictures([f"{tmp_path}/o*.png", str(tmp_path / "one.png")])] == ["one.png"]


def test_ink_is_extracted_only_for_networks_of_digits():
    fashion = DataInfo(SHAPE, ("coat", "bag"), (0.1,), (0.3,))
    assert resolve_ink("auto", SHAPE, {"name": "mnist", "ink": "none"})
    assert resolve_ink("auto", SHAPE, {"name": "folder", "ink": "mnist"})
    assert not resolve_ink("auto", fashion.shape, {"name": "fashion_mnist", "ink": "none"})
    assert not resolve_ink("none", SHAPE, {"name": "mnist", "ink": "none"})
    assert not resolve_ink("auto", (3, 32, 32), {"name": "folder", "ink": "none"})
    with pytest.raises(InputError, match="ink=mnist makes pictures of 1x28x28"):
        resolve_ink("mnist", (3, 32, 32), {"name": "folder", "ink": "none"})
    with pytest.raises(InputError, match="ink=blue"):
        resolve_ink("blue", SHAPE, {"name": "mnist", "ink": "none"})
