"""One network as the server uses it: loaded, tried on the built-in digit, replaced as a whole."""

import base64
import copy
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from src.errors import InputError
from src.inference.records import prediction_records
from src.insight.grad_cam import grad_cam, last_conv
from src.model_files.load import load_predictor, numpy_predictor
from src.pictures.decode import REQUEST_LIMITS
from src.pictures.inputs import resolve_ink
from src.pictures.reader import DecodedPicture, NetworkInput, Reader, SegmentedPicture
from src.server.self_test import expected, sample

log = logging.getLogger(__name__)
LARGE = 512  # longer side of a picture whose page is made by many threads, pixels


class ServedModel:
    """A network and what surrounds it; never changed, so that a batch sees one network from its start to its end.

    path: a run's checkpoint or an exported file. base: where the start of a file of changes is. ink: auto, mnist or
    none, as in `src.pictures.inputs.resolve_ink`. several: whether a picture may hold more than one digit.
    Raises InputError for a file that is no network, or a network that reads no pictures.
    """

    def __init__(self, path: Path, base: Path | None = None, ink: str = "auto", several: bool = True):
        self.path = Path(path)
        self.net = net = load_predictor(path, base, threads=1)
        self.info = info = net.info
        data = net.config.get("data", {})
        self.ink = resolve_ink(ink, info.shape, data)
        self.reader = Reader(info.shape, self.ink, several)
        self.probs = numpy_predictor(net, threads=1)
        self.engine = self.probs.engine
        self.looks = self._looks()
        self._once = copy.copy(net)  # the same weights, by one look at each image
        self._once.views = 1
        self.about = {"sha256": net.digest, "classes": list(info.class_names)}
        self.model_json = json.dumps(self.about)

    @property
    def top_most(self) -> int:
        """The most classes that an answer can list."""
        return max(1, len(self.info.class_names))

    def describe(self) -> dict:
        """What GET /model says."""
        return {
            **self.about, "engine": self.engine, "temperature": self.net.temperature, "shape": list(self.info.shape),
            "target": self.info.target, "epoch": self.net.epoch, "views": self.net.views, "ink": self.ink,
            "looks": self.looks is None, "accuracy": self._accuracy(),
        }  # fmt: skip

    def open(self, content: bytes) -> DecodedPicture | SegmentedPicture:
        """A picture, as far as several threads do it faster than one; of a large one the whole page.

        Two threads decode and lift a canvas of 280x280 in 325 microseconds, and one thread parts it in 80; if they only
        decode, it is 305 and 140, and if they do all of it, 480: short calls of NumPy cost two threads more than they
        gain. Raises PictureError.
        """
        opened = self.reader.decode(content, REQUEST_LIMITS)
        return self.reader.segment(opened) if max(opened.size) > LARGE else opened

    def page(self, opened: DecodedPicture | SegmentedPicture) -> SegmentedPicture:
        """The rest of it."""
        return self.reader.segment(opened) if isinstance(opened, DecodedPicture) else opened

    def classify(self, readings: Sequence[NetworkInput]) -> np.ndarray:
        """Probabilities of all digits of all readings, float32 (n, K), in their order, by one call of the network; of
        one of a number, numbers in its unit (n, 1)."""
        images = np.concatenate([reading.images for reading in readings])
        if not len(images):
            return np.empty((0, self.info.num_classes), np.float32)
        return self.probs(images)

    def answer(self, readings: Sequence[NetworkInput], probs: np.ndarray, top_k: int) -> list[dict]:
        """One answer per reading (`src.inference.records.prediction_records`)."""
        return prediction_records(readings, probs, self.info, min(top_k, self.top_most))

    def look(self, reading: NetworkInput, said: dict) -> None:
        """Add to an answer what the network sees of each digit, and where it looks: maps of 0 to 1."""
        if not len(reading.images):
            return
        for digit, image in zip(said["digits"], reading.images, strict=True):
            digit["seen"] = _png(image)
        if self.looks is not None:
            said["notes"] = [*said["notes"], self.looks]
            return
        maps = grad_cam(self._once, torch.from_numpy(reading.images))[:, 0].double()
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
        for digit, places in zip(said["digits"], maps, strict=True):
            digit["looked"] = places.round(decimals=3).tolist()

    def check(self) -> None:
        """Read the built-in digit through the whole path. Raises InputError if it is not recognised.

        Of a network of something else than the ten digits only that a picture goes through is asked.
        """
        try:
            (reading,) = self.reader.to_network_input([self.reader.segment(sample(), REQUEST_LIMITS)])
            (said,) = self.answer([reading], self.classify([reading]), 1)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"ckpt={self.path}: the built-in digit does not go through ({error})") from error
        wanted = expected(self.info, self.ink)
        if wanted is not None and said["prediction"] != wanted:
            raise InputError(f"ckpt={self.path} takes the built-in {wanted} for {said['prediction']}: train it longer")

    def _looks(self) -> str | None:
        """Why there is no Grad-CAM; None where there is."""
        if self.net.engine != "torch":
            return "no map of where it looked: this file holds no torch network"
        if self.info.target:
            return "no map of where it looked: the network gives a number"
        if last_conv(self.net) is None:
            return "no map of where it looked: the network has no convolution"
        return None

    def _accuracy(self) -> float | None:
        """On its test images, where the run that it is of has measured it."""
        try:
            return json.loads((self.path.parents[1] / "results.json").read_text())["test"]["acc"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None


def _png(image: np.ndarray) -> str:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()
