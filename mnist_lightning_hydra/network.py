"""Load a trained network and ask it for the class of pictures: one, several, an array or a folder."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from src.cli.inputs import select_device
from src.errors import InputError, require
from src.files import OUTPUTS
from src.inference.model import Predictor
from src.inference.predict_pictures import predict_pictures
from src.model_files.load import load_predictor
from src.model_files.locate import find_checkpoint
from src.model_files.trust import trusted
from src.pictures.inputs import find_pictures, resolve_ink
from src.pictures.reader import Reader

AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # modes of Pillow that a PNG keeps as they are


@dataclass(frozen=True)
class Prediction:
    """What a network says of one picture.

    label: the likeliest class; of several digits on a picture all their labels in order; None for a picture that is
    empty or cannot be read. probability: of the label, calibrated; of several digits the smallest; None for a
    regression target. probabilities: of every class, the likeliest first; empty unless the picture is of one class.
    file: of the picture. error: why it could not be read, on one line.
    record: everything that `python -m src.predict format=json` writes of it.
    """

    label: str | None
    probability: float | None
    probabilities: Mapping[str, float]
    file: str | None = None
    error: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class Network:
    """A trained network that reads pictures as `src.predict` and `src.serve` do.

    predictor: from `src.model_files.load`, with info (shape, class_names, ...) and config. ink: auto, mnist or none, as
    in conf/predict.yaml. several: look for several digits on a picture. device: auto, cpu, cuda or mps.
    Raises InputError for a network that cannot read pictures.
    """

    def __init__(self, predictor: Predictor, ink: str = "auto", several: bool = True, device: str = "auto"):
        self.predictor, self.info = predictor, predictor.info
        self.device = select_device(device) if predictor.engine == "torch" else "cpu"
        self.reader = Reader(
            predictor.info.shape, resolve_ink(ink, predictor.info.shape, predictor.config["data"]), several
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the network's outputs."""
        return self.info.class_names

    def predict(self, pictures: Any) -> "Prediction | list[Prediction]":
        """The prediction for one picture, or a list of them for several.

        pictures: a file, the bytes of one, a PIL image, or an array uint8 (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4
        channels; or several: a folder, a pattern such as "new/*.jpg", an array (N, ...), or a list of any of these.
        Raises InputError for one picture that cannot be read; among several its prediction has the error.
        """
        sources, single = _sources(pictures)
        require(bool(sources), "no pictures were given")
        batches = predict_pictures(
            sources,
            self.predictor,
            self.reader,
            top_k=max(1, len(self.class_names)),
            threads=os.cpu_count() or 1,
            device=self.device,
        )
        found = [_prediction(record) for batch in batches for record in batch]
        if single and found[0].error:
            raise InputError(found[0].error)
        return found[0] if single else found


def load(
    reference: str | Path,
    trust: str | Sequence[str] | None = None,
    base: str | Path | None = None,
    ink: str = "auto",
    several: bool = True,
    device: str = "auto",
) -> Network:
    """The network of a run's folder, a checkpoint or an exported file; "newest" is the newest run in outputs/.

    trust: packages whose classes the file may name, for a network of your own. base: the source model of an adapter
    checkpoint, if it moved. The other arguments are those of `Network`.
    Raises InputError, with one line, for what cannot be loaded.
    """
    with trusted(trust):
        predictor = load_predictor(find_checkpoint(str(reference), OUTPUTS, int8=True), base)
    return Network(predictor, ink, several, device)


def _sources(pictures: Any) -> tuple[list[tuple[str, Path | bytes]], bool]:
    """Named pictures, as files or encoded without loss, and whether they are one."""
    if isinstance(pictures, str | Path):
        single = Path(pictures).expanduser().is_file()
        return [(str(path), path) for path in find_pictures(str(pictures))], single
    if isinstance(pictures, bytes | bytearray):
        return [("", bytes(pictures))], True
    if isinstance(pictures, Image.Image):
        return [("", _png(pictures))], True
    if isinstance(pictures, list | tuple):
        return [source for each in pictures for source in _sources(each)[0]], False
    if hasattr(pictures, "__array__"):
        array = np.asarray(pictures)
        if array.ndim == 4:
            return [("", _png(_image(each))) for each in array], False
        return [("", _png(_image(array)))], True
    kinds = "a file, a folder, bytes, a PIL image, an array, or a list of them"
    raise InputError(f"{type(pictures).__name__} is no picture: give {kinds}")


def _image(array: np.ndarray) -> Image.Image:
    """The PIL image of uint8 (H, W), (H, W, C) or (C, H, W); a last axis of 1, 3 or 4 is that of channels."""
    shape = "x".join(map(str, array.shape))
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    require(array.dtype == np.uint8, f"an array of {array.dtype}: give grey levels or colours 0 to 255 as uint8")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    channels = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    require(
        channels and array.size > 0, f"an array of {shape}: give (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels"
    )
    return Image.fromarray(np.ascontiguousarray(array))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    (upright if upright.mode in AS_PNG else upright.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _prediction(record: dict) -> Prediction:
    name = record["file"] or None
    if "error" in record:
        return Prediction(None, None, {}, name, record["error"]["message"], record)
    digits = record["digits"]
    classes = digits[0].get("top", []) if len(digits) == 1 else []
    probabilities = {one["label"]: one["probability"] for one in classes}
    return Prediction(record["prediction"], record["probability"], probabilities, name, None, record)
