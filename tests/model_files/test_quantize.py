"""Quantized files keep metadata and nearly all predictions."""

import itertools

import pytest
import torch

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")


from src.errors import InputError
from src.model_files.checkpoint import load_model
from src.model_files.onnx import onnx_bytes, parse_onnx
from src.model_files.onnxruntime import OnnxNet
from src.model_files.quantize import LAYERS, METHODS, quantize
from src.model_files.verify import compare_outputs
from tests.model_files.networks import DIGITS, onnx_outputs, random_batch


def test_quantizing_keeps_metadata_and_nearly_the_logits(net, files):
    content, batch = files[".onnx"].read_bytes(), random_batch(60)
    small = quantize(content, batch.numpy())
    assert len(small) < len(content) / 2
    back = parse_onnx(small, "here.onnx", 1)
    assert isinstance(back, OnnxNet)
    assert (back.info, back.temperature, back.checkpoint) == (DIGITS, 1.7, net.digest)
    assert back.notes == {"int8": {"layers": "linear", "method": "minmax", "images": 60}}
    with torch.inference_mode():
        off, size = (back(batch) - net(batch)).abs().max(), net(batch).std()
    assert 0 < off < 0.2 * size
    for wrong in ({"method": "guess"}, {"layers": "some"}):
        with pytest.raises(InputError, match="one of"):
            quantize(content, batch.numpy(), **wrong)
    with pytest.raises(InputError, match="at least one"):
        quantize(content, batch.numpy()[:0])


@pytest.mark.slow
def test_exported_and_quantized_files_keep_the_accuracy_on_mnist(mnist_root, tmp_path):
    from src.data.datamodule import ImageData
    from src.evaluation.evaluate import predict
    from tests.commands import run

    words = ["experiment=fast", "trainer.max_epochs=1", "test=false", "trainer.accelerator=cpu"]
    words += [f"data.root={mnist_root}", "data.download=false", f"hydra.run.dir={tmp_path}/run"]
    done = run("src.train", *words)
    assert done.returncode == 0, done.stderr
    net = load_model(tmp_path / "run/checkpoints/best.ckpt")
    data = ImageData(root=str(mnist_root), download=False)
    data.setup()
    content = onnx_bytes(net)
    batches = (batch for batch, _ in data.loader(data.test_set))
    found = compare_outputs(net, {"file": onnx_outputs(content)}, batches)
    assert found["same"]
    assert found["images"] == 10_000
    calibrated = data.train_set[torch.arange(1000)][0].numpy()
    logits, labels = predict(net, data.test_dataloader())
    right = (logits.argmax(1) == labels).double().mean()
    assert right > 0.97
    for method, layers in itertools.zip_longest(METHODS, LAYERS):
        small = parse_onnx(quantize(content, calibrated, method, layers), "here.onnx")
        answered = predict(small, data.test_dataloader())[0].argmax(1)
        assert right - (answered == labels).double().mean() < 0.001, (method, layers)
