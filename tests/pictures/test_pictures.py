"""Pictures as people send them: opened within limits, and brought to the same digit whatever form they have."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.pictures import number_page
from src.data.info import DataInfo
from src.data.sources.registry import load_source
from src.errors import InputError
from src.inference.answer import answer
from src.pictures.decode import FILES, REQUESTS, Limits, PictureError, decode
from src.pictures.file_types import format_of
from src.pictures.foreground import estimate_background, extract_ink
from src.pictures.mnist_form import to_mnist_form
from src.pictures.reader import Reader
from src.pictures.segmentation import MOST, find_digits
from tests.odd_pictures import odd_pictures

DIGITS = DataInfo((1, 28, 28), tuple("0123456789"), (0.1307,), (0.3081,))
READER = Reader(DIGITS.shape, ink=True)


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    """The digits of scikit-learn in MNIST's form, uint8 (100, 28, 28)."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images[:100] * 15.9).round().to(torch.uint8).unsqueeze(1)
    return to_mnist_form(images)[:, 0].numpy()


def saved(pixels, kind: str = "PNG", **options) -> bytes:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(*contents: bytes, reader: Reader = READER):
    return reader.read([reader.page(content, FILES) for content in contents])


def one(content: bytes) -> np.ndarray:
    (reading,) = read(content)
    assert len(reading.images) == 1, reading
    return reading.images[0, 0]


def alike(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(image.ravel(), other.ravel())[0, 1])


# Forms


def test_an_image_of_the_data_set_stays_as_it_is(scans):
    for image in scans:
        assert np.array_equal(one(saved(image)), image)
        assert np.array_equal(one(saved(255 - image)), image)


def test_where_it_lies_and_how_much_is_around_it_do_not_matter(scans):
    for image in scans:
        first = one(saved(np.pad(image, 40)))
        assert alike(first, image) > 0.9
        for above, below, left, right in ((0, 50, 1, 1), (7, 3, 90, 0), (200, 10, 10, 200)):
            assert np.array_equal(one(saved(np.pad(image, ((above, below), (left, right))))), first)


def test_which_way_it_is_stored_does_not_matter(scans):
    for image in scans[:30]:
        large = np.asarray(Image.fromarray(image).resize((140, 140), Image.Resampling.BICUBIC))
        first = one(saved(large))
        flat = Image.fromarray(255 - large)
        clear = Image.new("RGBA", flat.size, (0, 0, 0, 0))
        clear.putalpha(Image.fromarray(large))
        white = Image.new("RGBA", flat.size, (255, 255, 255, 0))
        white.putalpha(Image.fromarray(large))
        forms = [
            saved(flat),
            saved(flat, "BMP"),
            saved(flat.convert("RGB"), "WEBP", lossless=True),
            saved(flat, "GIF"),
            saved(flat, "TIFF"),
            saved(flat, "PPM"),
            saved(flat.convert("RGBA")),
            saved(Image.merge("LA", [flat, Image.new("L", flat.size, 255)])),
            saved((255 - large).astype(np.uint16) * 257),
            saved(clear),
            saved(white),
        ]
        for place, form in enumerate(forms):
            assert np.abs(one(form).astype(int) - first).max() <= 1, place


@pytest.mark.parametrize("times", [2, 3, 5, 10, 40])
def test_how_large_it_is_hardly_matters(scans, times):
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # half a pixel is rounded either way
    for image in scans[:40]:
        large = one(saved(image.repeat(times, 0).repeat(times, 1)))
        assert max(alike(np.roll(large, move, (0, 1)), image) for move in moves) > 0.97


def test_every_kind_of_grey_level_is_scaled():
    ramp = np.linspace(0, 1, 256).reshape(16, 16)
    whole = (ramp * 255).round().astype(np.uint8)
    for pixels, kind in (
        ((ramp * 65535).astype(np.uint16), "PNG"),
        ((ramp * 4095).astype(np.uint16), "PNG"),
        ((ramp * 65535).astype(np.int32), "TIFF"),
        (ramp.astype(np.float32), "TIFF"),
        ((ramp * 2000 - 1000).astype(np.float32), "TIFF"),
        ((ramp * 255).astype(np.float32), "TIFF"),
    ):
        found = decode(saved(pixels, kind), FILES).pixels
        assert np.abs(found.astype(int) - whole).max() <= 1, (pixels.dtype, pixels.max())
    odd = np.full((4, 4), np.nan, np.float32)
    odd[1] = np.inf
    assert decode(saved(odd, "TIFF"), FILES).pixels.max() == 0


def test_boxes_are_of_the_upright_picture_as_it_was_sent():
    page = np.full((300, 3000), 255, np.uint8)
    page[50:250, 2100:2180] = 0
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = Image.fromarray(np.rot90(page, -1))
    for content in (saved(page), saved(page, "JPEG"), saved(turned, exif=exif), saved(turned, "JPEG", exif=exif)):
        (reading,) = read(content)
        assert reading.size == (3000, 300)
        assert np.abs(np.subtract(reading.boxes[0], (2100, 50, 2180, 250))).max() <= 6
        assert reading.inverted


def test_notes_and_emptiness_are_told(scans):
    blank = Image.new("L", (50, 40), 230)
    frames = saved(blank, "GIF", save_all=True, append_images=[Image.new("L", (50, 40), 3)])
    white = Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    white.putalpha(Image.fromarray(scans[0]))
    empty, clear = read(frames, saved(white))
    assert (empty.reason, len(empty.images), empty.boxes) == ("empty", 0, [])
    assert empty.notes == ("the first of several frames",)
    assert clear.notes == ("light ink on a transparent ground, put on black",)
    assert clear.reason is None


def test_paper_without_ink_is_empty_and_with_it_is_not():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :260]
    for noise in (1, 4, 10):
        sheet = 180 - rows / 6 - 25 * np.sin(columns / 60) + rng.normal(0, noise, rows.shape)
        assert extract_ink(sheet.clip(0, 255).astype(np.uint8)).ink is None, noise
        sheet[80:140, 100:112] -= 90
        lifted = extract_ink(sheet.clip(0, 255).astype(np.uint8))
        assert np.abs(np.subtract(lifted.corner, (100, 80))).max() <= 2
        assert np.abs(np.subtract(lifted.ink.shape, (60, 12))).max() <= 3
        assert lifted.inverted


def test_the_paper_is_what_is_left_without_narrow_things():
    sheet = np.full((120, 200), 60, np.uint8)
    assert np.allclose(estimate_background(sheet), 60)
    written = sheet.copy()
    written[20:90, 50:60] = 200
    assert np.abs(estimate_background(written) - 60).max() < 1
    shaded = np.where(np.arange(200) < 100, 60, 110).astype(np.uint8) * np.ones((120, 1), np.uint8)
    assert np.abs(estimate_background(shaded)[:, [20, 180]] - [60, 110]).max() < 1


# Several digits


def test_parts_are_read_from_left_to_right_and_lines_from_above(scans):
    row = np.concatenate([np.pad(scans[place], 6) for place in (0, 1, 2, 3)], 1)
    page = np.concatenate([row, row[:, ::-1]])
    readings = read(saved(row), saved(page), saved(255 - page.repeat(3, 0).repeat(3, 1)))
    assert [len(reading.images) for reading in readings] == [4, 8, 8]
    assert readings[1].notes == ("2 lines, read from the top one down",)
    assert [box[0] for box in readings[0].boxes] == sorted(box[0] for box in readings[0].boxes)
    for image, place in zip(readings[0].images, range(4), strict=True):
        assert alike(image[0], scans[place]) > 0.9
    for small, large in zip(readings[1].boxes, readings[2].boxes, strict=True):
        assert np.abs(np.array(small) * 3 - large).max() <= 6
    (single,) = read(saved(row), reader=Reader(DIGITS.shape, ink=True, several=False))
    assert len(single.images) == 1


def block(page: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    page[top:bottom, left:right] = 255


def test_pieces_belong_to_their_digit_and_specks_to_none():
    page = np.zeros((100, 200), np.uint8)
    block(page, 20, 40, 50, 90)  # a 5 without its bar
    block(page, 40, 18, 70, 30)  # its bar
    block(page, 120, 20, 132, 60)  # a broken 1
    block(page, 119, 63, 131, 92)
    block(page, 160, 50, 163, 53)  # dust
    found = find_digits(page)
    assert [box for _, box in found.digits] == [(20, 18, 70, 90), (119, 20, 132, 92)]


def test_a_wide_part_is_noted_and_a_crowd_is_one():
    page = np.zeros((40, 120), np.uint8)
    block(page, 5, 5, 115, 35)
    assert find_digits(page).notes == ("wide for a digit: digits that touch are read as one",)
    dots = np.zeros((200, 200), np.uint8)
    for row in range(10, 190, 24):
        for column in range(10, 190, 24):
            block(dots, column, row, column + 8, row + 12)
    found = find_digits(dots)
    assert len(found.digits) == 1
    assert f"more than {MOST} digits" in found.notes[0]


def test_pages_are_read_together_as_alone_and_by_threads(scans):
    contents = [saved(np.pad(image, 10 + place)) for place, image in enumerate(scans[:24])]
    contents.insert(5, saved(np.zeros((30, 30), np.uint8)))
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(READER.page, contents))
    for reading, content in zip(READER.read(pages), contents, strict=True):
        assert np.array_equal(reading.images, read(content)[0].images)
    assert READER.read([]) == []


def test_networks_of_other_pictures_get_them_whole(scans):
    reader = Reader((3, 32, 32), ink=False)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :, 0] = 200
    (reading,) = reader.read([reader.page(saved(wide))])
    assert reading.images.shape == (1, 3, 32, 32)
    assert reading.boxes == [(0, 0, 60, 20)]
    assert (reading.images[0, 0] == 200).all(), "filled with the border's level"
    with pytest.raises(InputError, match=r"MNIST's form is 1x28x28, not 3x32x32"):
        Reader((3, 32, 32), ink=True)


# Limits


def test_limits_are_checked_before_anything_is_unpacked():
    small = Limits(1000, 100 * 100, ("PNG",))
    assert decode(saved(np.zeros((100, 100), np.uint8)), small).size == (100, 100)
    with pytest.raises(PictureError, match=r"the picture has 101x100 pixels: at most 10,000") as caught:
        decode(saved(np.zeros((100, 101), np.uint8)), small)
    assert caught.value.reason == "too_large"
    noise = np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8)
    with pytest.raises(PictureError, match="larger than 1,000 bytes") as caught:
        decode(saved(noise), small)
    assert caught.value.reason == "too_large"
    with pytest.raises(PictureError, match="it is BMP") as caught:
        decode(saved(noise[:4, :4], "BMP"), Limits(1 << 20, 100, ("PNG",)))
    assert caught.value.reason == "unknown_format"


def test_a_file_is_named_and_a_missing_one_is_an_error_of_its_own(tmp_path):
    for path, reason in ((tmp_path / "none.png", "missing"), (tmp_path, "missing")):
        with pytest.raises(PictureError, match=path.name) as caught:
            decode(path)
        assert caught.value.reason == reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_no_damage_raises_anything_else(kind, scans):
    whole = saved(np.asarray(Image.fromarray(scans[3]).resize((60, 60))), kind)
    assert format_of(whole) == kind
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(150):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, len(damaged), rng.integers(1, 6)):
            damaged[place] = rng.integers(0, 256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TIFF's, of what it skips
                read(bytes(damaged))
        except PictureError as error:
            assert "\n" not in str(error)
            reasons.append(error.reason)
    assert set(reasons) <= {"damaged", "unknown_format", "too_large"}
    assert "damaged" in reasons or kind in ("BMP", "PPM")


# Answers


def test_answers_are_plain_and_in_order(scans):
    row = np.concatenate([np.pad(scans[place], 6) for place in (0, 1)], 1)
    readings = read(saved(row), saved(np.zeros((30, 30), np.uint8)), saved(255 - scans[4]))
    probs = np.full((3, 10), 0.01)
    probs[[0, 1, 2], [4, 2, 7]] = 0.91, 0.7, 0.91
    both, empty, last = answer(readings, torch.from_numpy(probs), DIGITS, top_k=2)
    assert (both["prediction"], both["probability"], both["low_confidence"]) == ("42", 0.7, True)
    assert [digit["label"] for digit in both["digits"]] == ["4", "2"]
    assert both["digits"][0]["top"] == [{"label": "4", "probability": 0.91}, {"label": "0", "probability": 0.01}]
    assert (empty["prediction"], empty["probability"], empty["reason"], empty["digits"]) == (None, None, "empty", [])
    assert (last["prediction"], last["inverted"], last["low_confidence"], last["size"]) == ("7", True, False, [28, 28])
    names = DataInfo((1, 28, 28), ("coat", "bag"), (0.1,), (0.3,))
    assert answer(readings[:1], np.array([[0.9, 0.1], [0.2, 0.8]]), names)[0]["prediction"] == "coat bag"
    angle = DataInfo((1, 28, 28), (), (0.1,), (0.3,), "angle_deg", 45.0)
    (said,) = answer(readings[2:], np.array([[12.34]]), angle)
    assert (said["prediction"], said["digits"][0]["value"]) == ("12.3", 12.34)


# Real digits


@pytest.fixture(scope="module")
def mnist(mnist_root):
    """Training and test split of MNIST."""
    source = load_source("mnist", root=str(mnist_root), download=False)
    return source.train(), source.test()


@pytest.fixture(scope="module")
def net(mnist) -> nn.Module:
    """A small network, trained for one epoch on digits with pens of several widths: 98 to 99 % on the test split."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(16, 32, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    batches, images, labels = 540, mnist[0].images, mnist[0].labels
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=batches)
    for step, rows in enumerate(torch.randperm(60_000)[: batches * 100].view(batches, 100)):
        batch = images[rows].float() / 255
        if step % 4 == 0:
            batch = nn.functional.max_pool2d(batch, 3, 1, 1)
        elif step % 4 == 1:
            batch = batch * (0.4 + 0.6 * torch.rand(len(batch), 1, 1, 1))
        loss = nn.functional.cross_entropy(net(batch), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return net.eval()


@torch.inference_mode()
def labels_of(net: nn.Module, images: np.ndarray) -> np.ndarray:
    parts = torch.from_numpy(images).split(1000)
    return torch.cat([net(part.float() / 255).argmax(1) for part in parts if len(part)]).numpy()


def numbers_of(net: nn.Module, readings: list) -> list[str]:
    said = "".join(map(str, labels_of(net, np.concatenate([reading.images for reading in readings]))))
    ends = np.cumsum([len(reading.images) for reading in readings])
    return [said[end - len(reading.images) : end] for end, reading in zip(ends, readings, strict=True)]


@pytest.mark.slow
def test_a_whole_test_set_of_pictures_is_recognised_as_its_images_are(mnist, net):
    images, labels = mnist[1].images.numpy(), mnist[1].labels.numpy()
    own = (labels_of(net, images) == labels).mean()
    assert own > 0.98
    readings = READER.read([READER.page(saved(255 - image[0], "BMP")) for image in images])
    assert all(len(reading.images) == 1 for reading in readings)
    taken = np.concatenate([reading.images for reading in readings])
    assert abs((labels_of(net, taken) == labels).mean() - own) < 0.001


@pytest.mark.slow
def test_size_place_and_polarity_do_not_change_the_answer(mnist, net):
    images = mnist[1].images[:600, 0].numpy()
    own = labels_of(net, images[:, None])
    for change in (
        lambda image: np.pad(image, ((30, 2), (3, 50))),
        lambda image: 255 - np.pad(image, 20),
        lambda image: image.repeat(4, 0).repeat(4, 1),
        lambda image: 255 - image.repeat(10, 0).repeat(10, 1),
    ):
        said = numbers_of(net, READER.read([READER.page(saved(change(image))) for image in images]))
        assert np.mean([a == str(b) for a, b in zip(said, own, strict=True)]) > 0.985


@pytest.mark.slow
def test_numbers_are_read(mnist, net):
    """Two to six digits side by side, of different sizes."""
    rng = np.random.default_rng(3)
    images, labels = mnist[1].images.numpy()[:, 0], mnist[1].labels.numpy()
    pages, truths = [], []
    for _ in range(200):
        rows = rng.integers(0, len(images), rng.integers(2, 7))
        page = number_page(images[rows], rng, (4, 20), (0.7, 1.25))
        pages.append(READER.page(saved(page)))
        truths.append("".join(map(str, labels[rows])))
    said = numbers_of(net, READER.read(pages))
    assert np.mean([len(a) == len(b) for a, b in zip(said, truths, strict=True)]) > 0.96
    assert np.mean([a == b for a, b in zip(said, truths, strict=True)]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_odd_pictures_are_what_they_show(mnist, net, which):
    images, labels = mnist[0]
    rows = [int((labels == number).nonzero()[which]) for number in range(10)]
    wrong = []
    odd = odd_pictures(lambda number: images[rows[number], 0].numpy())
    assert len(odd) >= 40
    for name, content, expected in odd:
        try:
            (reading,) = READER.read([READER.page(content, REQUESTS)])
            said = reading.reason or numbers_of(net, [reading])[0]
        except PictureError as error:
            said = error.reason
        if said != expected:
            wrong.append((name, expected, said))
    assert wrong == []
