"""Small real files that tests train on."""

import gzip
import hashlib
import os
import struct
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from src.cli.config import ROOT


def pytest_runtest_setup(item: pytest.Item) -> None:
    """SLOW_UNTIL, in seconds since 1970: no slow test begins after it."""
    if item.get_closest_marker("slow") and time.time() > float(os.environ.get("SLOW_UNTIL", "inf")):
        pytest.skip("the time for slow tests (SLOW_UNTIL) is over")


def _mnist_root() -> Path | None:
    for root in (os.environ.get("MNIST_ROOT"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
            return Path(root)
    return None


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A folder with the real MNIST files."""
    root = _mnist_root()
    if root is None:
        pytest.skip("no MNIST files: set MNIST_ROOT or train once with data=mnist")
    return root


def idx_bytes(values: np.ndarray) -> bytes:
    """An array as an IDX file's content."""
    code, dtype = (0x08, "u1") if values.dtype == np.uint8 else (0x0C, ">i4")
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape) + values.astype(dtype).tobytes()


def striped_digits(count: int, seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) whose class is the row of a bright stripe: learnt in a few steps."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % classes).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * (int(label) % 12) : 4 + 2 * (int(label) % 12), 4:24] = 230
    return images, labels


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


@pytest.fixture
def server(tmp_path):
    """A folder that is served on a local address: (folder, address, names asked for)."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith("/broken/"):  # promises more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"half")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


@pytest.fixture
def packed(idx_files):
    """Role -> (name, MD5, packed content) of a small family of IDX files."""
    found = {}
    for role, content in idx_files.items():
        gz = gzip.compress(content, mtime=0)
        found[role] = (f"{role}-ubyte.gz", hashlib.md5(gz).hexdigest(), gz)
    return found


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
