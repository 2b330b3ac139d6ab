"""Small real files that tests train on."""

import os
import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from src.data.datamodule import ImageData
from tests.commands import train_digits
from tests.small_data import idx_bytes, mnist_folder, striped_digits


def pytest_runtest_setup(item: pytest.Item) -> None:
    """SLOW_UNTIL, in seconds since 1970: no slow test begins after it."""
    if item.get_closest_marker("slow") and time.time() > float(os.environ.get("SLOW_UNTIL", "inf")):
        pytest.skip("the time for slow tests (SLOW_UNTIL) is over")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A folder with the real MNIST files."""
    root = mnist_folder()
    if root is None:
        pytest.skip("no MNIST files: set MNIST_ROOT or train once with data=mnist")
    return root


@pytest.fixture(scope="session")
def idx_files() -> dict[str, bytes]:
    """Role -> content of an IDX file: 200 training and 60 test images."""
    files = {}
    for part, count, seed in (("train", 200, 0), ("test", 60, 1)):
        images, labels = striped_digits(count, seed)
        files[f"{part}-images"], files[f"{part}-labels"] = idx_bytes(images), idx_bytes(labels)
    return files


@pytest.fixture(scope="session")
def data_root(tmp_path_factory, idx_files) -> Path:
    """A root with small files in the real formats and names of every MNIST-like data set but MNIST."""
    root = tmp_path_factory.mktemp("root")
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for family in ("FashionMNIST", "KMNIST"):
        (root / family / "raw").mkdir(parents=True)
        for name, content in zip(names, idx_files.values(), strict=True):
            (root / family / "raw" / name).write_bytes(content)
    qmnist, emnist = root / "QMNIST" / "raw", root / "EMNIST" / "raw"
    qmnist.mkdir(parents=True)
    emnist.mkdir(parents=True)
    for part, count, seed in (("train", 200, 0), ("test", 60, 1)):
        images, labels = striped_digits(count, seed)
        table = np.zeros((count, 8), np.int32)
        table[:, 0] = labels
        (qmnist / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (qmnist / f"qmnist-{part}-labels-idx2-int").write_bytes(idx_bytes(table))
        images, labels = striped_digits(count * 2, seed, classes=47)
        (emnist / f"emnist-balanced-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images.transpose(0, 2, 1)))
        (emnist / f"emnist-balanced-{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return root


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """Pictures of two classes in several formats, sizes and modes."""
    from PIL import Image

    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    forms = [("png", "L"), ("jpg", "RGB"), ("bmp", "L"), ("gif", "P"), ("webp", "RGB"), ("tif", "I;16")]
    for name in ("cross", "ring"):
        (root / name).mkdir()
        for index in range(24):
            suffix, mode = forms[index % len(forms)]
            grey = rng.integers(0, 40, (30 + index, 40), dtype=np.uint8)
            if name == "ring":
                grey[8:20, 8:30] = 220
            else:
                grey[12:16, :] = 220
            picture = (
                Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
            )
            picture.save(root / name / f"{index}.{suffix}")
    return root


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a finished run of three epochs, with dropout and augmentation."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    done = train_digits(folder, "trainer.max_epochs=3", "model.dropout=0.2", "augment=affine")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def small_kmnist(data_root) -> ImageData:
    data = ImageData("kmnist", root=str(data_root), download=False, batch_size=16, val=50)
    data.setup()
    return data


@pytest.fixture(autouse=True, scope="session")
def _cache_folder(tmp_path_factory):
    """Tests and the commands that they run leave the user's cache alone, but for matplotlib's list of fonts."""
    fonts = matplotlib.get_cachedir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLCONFIGDIR", fonts)
        yield
