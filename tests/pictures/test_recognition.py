"""A trained network recognises pictures of digits as well as the images that they show."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.pictures import draw_number
from src.data.sources.registry import load_dataset
from src.pictures.decode import REQUEST_LIMITS, PictureError
from src.pictures.reader import NetworkInput
from tests.odd_pictures import odd_pictures
from tests.picture_files import READER, encode, read


@pytest.fixture(scope="module")
def mnist(mnist_root):
    """Training and test split of MNIST."""
    source = load_dataset("mnist", root=str(mnist_root), download=False)
    return source.train(), source.test()


@pytest.fixture(scope="module")
def model(mnist) -> nn.Module:
    """A small network, trained for one epoch on digits with pens of several widths: 98 to 99 % on the test split."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(16, 32, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    batches, images, labels = 540, mnist[0].images, mnist[0].labels
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=batches)
    for step, rows in enumerate(torch.randperm(60_000)[: batches * 100].view(batches, 100)):
        batch = images[rows].float() / 255
        if step % 4 == 0:
            batch = nn.functional.max_pool2d(batch, 3, 1, 1)
        elif step % 4 == 1:
            batch = batch * (0.4 + 0.6 * torch.rand(len(batch), 1, 1, 1))
        loss = nn.functional.cross_entropy(model(batch), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return model.eval()


@torch.inference_mode()
def predict_labels(model: nn.Module, images: np.ndarray) -> np.ndarray:
    chunks = torch.from_numpy(images).split(1000)
    return torch.cat([model(chunk.float() / 255).argmax(1) for chunk in chunks if len(chunk)]).numpy()


def predict_numbers(model: nn.Module, inputs: list[NetworkInput]) -> list[str]:
    digits = "".join(map(str, predict_labels(model, np.concatenate([one.images for one in inputs]))))
    ends = np.cumsum([len(one.images) for one in inputs])
    return [digits[end - len(one.images) : end] for end, one in zip(ends, inputs, strict=True)]


@pytest.mark.slow
def test_pictures_of_the_test_set_are_recognised_as_well_as_its_images(mnist, model):
    images, labels = mnist[1].images.numpy(), mnist[1].labels.numpy()
    accuracy = (predict_labels(model, images) == labels).mean()
    assert accuracy > 0.98
    inputs = read(*(encode(255 - image[0], "BMP") for image in images))
    assert all(len(one.images) == 1 for one in inputs)
    images_read = np.concatenate([one.images for one in inputs])
    assert abs((predict_labels(model, images_read) == labels).mean() - accuracy) < 0.001


@pytest.mark.slow
def test_size_position_and_polarity_do_not_change_the_prediction(mnist, model):
    images = mnist[1].images[:600, 0].numpy()
    expected = predict_labels(model, images[:, None])
    for change in (
        lambda image: np.pad(image, ((30, 2), (3, 50))),
        lambda image: 255 - np.pad(image, 20),
        lambda image: image.repeat(4, 0).repeat(4, 1),
        lambda image: 255 - image.repeat(10, 0).repeat(10, 1),
    ):
        predicted = predict_numbers(model, read(*(encode(change(image)) for image in images)))
        assert np.mean([a == str(b) for a, b in zip(predicted, expected, strict=True)]) > 0.985


@pytest.mark.slow
def test_numbers_of_several_digits_are_read(mnist, model):
    """Two to six digits side by side, of different sizes."""
    rng = np.random.default_rng(3)
    images, labels = mnist[1].images.numpy()[:, 0], mnist[1].labels.numpy()
    contents, expected = [], []
    for _ in range(200):
        rows = rng.integers(0, len(images), rng.integers(2, 7))
        contents.append(encode(draw_number(images[rows], rng, (4, 20), (0.7, 1.25))))
        expected.append("".join(map(str, labels[rows])))
    predicted = predict_numbers(model, read(*contents))
    assert np.mean([len(a) == len(b) for a, b in zip(predicted, expected, strict=True)]) > 0.96
    assert np.mean([a == b for a, b in zip(predicted, expected, strict=True)]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("nth", [0, 1])
def test_odd_pictures_are_read_correctly(mnist, model, nth):
    images, labels = mnist[0]
    rows = [int((labels == number).nonzero()[nth]) for number in range(10)]
    wrong = []
    odd = odd_pictures(lambda number: images[rows[number], 0].numpy())
    assert len(odd) >= 40
    for name, content, expected in odd:
        try:
            (one,) = READER.to_network_input([READER.segment(content, REQUEST_LIMITS)])
            predicted = one.reason or predict_numbers(model, [one])[0]
        except PictureError as error:
            predicted = error.reason
        if predicted != expected:
            wrong.append((name, expected, predicted))
    assert wrong == []
