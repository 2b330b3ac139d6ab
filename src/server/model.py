"""The network that a server serves: loaded, tested on the built-in digit, replaced as a whole."""

import base64
import copy
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from src.data.info import DataInfo
from src.data.sources.correction_networks import describe_network
from src.errors import InputError, is_number
from src.files import read_json
from src.inference.records import prediction_records
from src.insight.grad_cam import grad_cam, last_conv
from src.model_files.load import load_predictor, numpy_predictor
from src.pictures.decode import REQUEST_LIMITS
from src.pictures.inputs import resolve_ink
from src.pictures.reader import DecodedPicture, NetworkInput, Reader, SegmentedPicture
from src.server.schema import About

LARGE = 512  # longer side, pixels, above which a picture is segmented where it is decoded: on several threads
# The built-in digit: a hand-drawn 7 that a network must recognise before the server reports ready.
SIDE, PEN = 280, 22  # pixels
STROKE = ((82, 76), (196, 72), (176, 118), (150, 164), (132, 214))  # corners of the line, x and y in pixels


class ServedModel:
    """A network and all that requests need of it. Immutable: a batch sees one network from start to end.

    path: a run's checkpoint or an exported file. base: where the source model of a checkpoint=adapter file is now.
    ink: auto, mnist or none, as in `src.pictures.inputs.resolve_ink`. several: whether a picture may hold more than one
    digit.
    Raises InputError for a file without a network, and a network that cannot read pictures.
    """

    def __init__(self, path: Path, base: Path | None = None, ink: str = "auto", several: bool = True):
        self.path = Path(path)
        self.net = net = load_predictor(path, base, threads=1)
        self.info = info = net.info
        self.ink = resolve_ink(ink, info.shape, net.config.get("data", {}))
        self.described = describe_network(info.class_names, net.config.get("data", {}))  # stored with its corrections
        self.reader = Reader(info.shape, self.ink, several)
        self._probs = numpy_predictor(net, threads=1)
        self.engine = self._probs.engine
        self._no_grad_cam = self._why_no_grad_cam()
        self._single_view = copy.copy(net)  # the same weights without test-time augmentation
        self._single_view.views = 1
        self._summary = {"sha256": net.digest, "classes": list(info.class_names)}
        self.model_json = json.dumps(self._summary)  # in every answer

    @property
    def max_top_k(self) -> int:
        """The most classes that an answer can list."""
        return max(1, len(self.info.class_names))

    def about(self) -> About:
        """The content of GET /model."""
        return About(
            **self._summary, engine=self.engine, temperature=self.net.temperature, shape=list(self.info.shape),
            target=self.info.target, epoch=self.net.epoch, views=self.net.views, ink=self.ink,
            looks=self._no_grad_cam is None, accuracy=self._test_accuracy(),
        )  # fmt: skip

    def decode(self, content: bytes) -> DecodedPicture | SegmentedPicture:
        """The part of reading a picture that several threads do faster than one; all of it for a large picture.

        For canvases of 280x280, two threads decode and extract the ink in 325 microseconds each, and one thread then
        segments in 80. If the threads only decode, that is 305 and 140; if they do everything, 480: short calls of
        NumPy cost two threads more than they gain. Raises PictureError.
        """
        decoded = self.reader.decode(content, REQUEST_LIMITS)
        return self.reader.segment(decoded) if max(decoded.size) > LARGE else decoded

    def segment(self, picture: DecodedPicture | SegmentedPicture) -> SegmentedPicture:
        """The rest of reading it."""
        return self.reader.segment(picture) if isinstance(picture, DecodedPicture) else picture

    def records(self, inputs: Sequence[NetworkInput], top_k: int) -> list[dict]:
        """One prediction record per input (`src.inference.records.prediction_records`), by one call of the network."""
        images = np.concatenate([one.images for one in inputs])
        probs = self._probs(images) if len(images) else np.empty((0, self.info.num_classes), np.float32)
        return prediction_records(inputs, probs, self.info, min(top_k, self.max_top_k))

    def explain(self, one: NetworkInput, record: dict) -> None:
        """Add to each digit of a record the image that the network reads, and its Grad-CAM map, 0 to 1."""
        if not len(one.images):
            return
        for digit, image in zip(record["digits"], one.images, strict=True):
            digit["seen"] = _png_base64(image)
        if self._no_grad_cam is not None:
            record["notes"] = [*record["notes"], f"no Grad-CAM: {self._no_grad_cam}"]
            return
        maps = grad_cam(self._single_view, torch.from_numpy(one.images))[:, 0].double()
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
        for digit, cam in zip(record["digits"], maps, strict=True):
            digit["looked"] = cam.round(decimals=3).tolist()

    def self_test(self) -> None:
        """Read the built-in digit as a request would. Raises InputError if that fails or gives another label.

        Networks of other classes than the ten digits may give any label.
        """
        try:
            inputs = self.reader.to_network_input([self.reader.segment(sample_digit(), REQUEST_LIMITS)])
            (record,) = self.records(inputs, 1)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"ckpt={self.path} fails on the built-in digit ({error})") from error
        expected, predicted = expected_label(self.info, self.ink), record["prediction"]
        if expected is not None and predicted != expected:
            raise InputError(f"ckpt={self.path} predicts {predicted} for the built-in {expected}: train it longer")

    def _why_no_grad_cam(self) -> str | None:
        if self.net.engine != "torch":
            return "the file holds no PyTorch network"
        if self.info.output.is_number:
            return "the network predicts a number"
        if last_conv(self.net) is None:
            return "the network has no convolution"
        return None

    def _test_accuracy(self) -> float | None:
        """Test accuracy, a fraction, if the run of this checkpoint has measured it."""
        try:
            accuracy = read_json(self.path.parents[1] / "results.json")["test"]["acc"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None
        return accuracy if is_number(accuracy) and 0 <= accuracy <= 1 else None


def _png_base64(image: np.ndarray) -> str:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


@lru_cache(maxsize=1)
def sample_digit() -> bytes:
    """A 7 in black on white, 280x280, PNG."""
    canvas = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(canvas)
    pen.line(STROKE, fill=0, width=PEN, joint="curve")
    for x, y in STROKE:
        pen.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), fill=0)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def expected_label(info: DataInfo, ink: bool) -> str | None:
    """The label of the built-in digit; None for networks of other classes, or that read pictures without ink."""
    return "7" if ink and info.class_names == tuple("0123456789") else None
