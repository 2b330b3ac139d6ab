"""Requests to an application in this process, without a socket, and what to send."""

import asyncio
import base64
import io
import time

import httpx
import numpy as np
import torch
from PIL import Image

from src.data.info import DataInfo
from src.model_files.checkpoint import write_checkpoint
from src.models.lenet import LeNet

PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
DIGITS = tuple("0123456789")
RUNNER = asyncio.Runner()  # one event loop for all requests, as a server has: late work ends between two calls


def write_network(path, model=LeNet, names=DIGITS, shape=(1, 28, 28), views=1, **more):
    """The file of an untrained network; random weights answer as quickly as trained ones."""
    torch.manual_seed(0)
    info = DataInfo(shape, names, (0.13,) * shape[0], (0.31,) * shape[0], **more)
    net = model(shape=shape, num_classes=info.num_classes)
    weights = {f"model.{key}": value for key, value in net.state_dict().items()}
    target = f"{model.__module__}.{model.__name__}"
    config = {"model": {"_target_": target}, "data": {"name": "mnist"}, "structure": [], "views": views}
    write_checkpoint({"state_dict": weights, "config": config, "facts": info.to_dict(), "epoch": 0}, path)
    return path


def send_all(app, *requests, host="localhost"):
    """Responses to requests that are sent at once, in order; `took`: seconds of each, `at`: when it came."""

    async def one(client, request):
        start = time.perf_counter()
        response = await client.request(*request[:2], **(request[2] if len(request) > 2 else {}))
        response.took, response.at = time.perf_counter() - start, time.perf_counter()
        return response

    async def all_of_them():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", timeout=60) as client:
            return await asyncio.gather(*(one(client, request) for request in requests))

    return RUNNER.run(all_of_them())


def send(app, method, path, **more):
    return send_all(app, (method, path, more))[0]


def post(app, content, path="/predict", headers=PNG):
    return send(app, "POST", path, content=content, headers=headers)


def is_error(response, status, code):
    """Assert that it is an error with this status and code, in the shape of all errors; returns True."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json"), response.text
    body = response.json()
    assert list(body) == ["error"] and sorted(body["error"]) == ["code", "message", "request_id"]
    assert body["error"]["code"] == code
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    message = body["error"]["message"]
    assert 0 < len(message) <= 300 and "\n" not in message and "Traceback" not in message
    return True


def encode_image(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def to_base64(content):
    return base64.b64encode(content).decode()


def slow_picture():
    """A picture that takes about a tenth of a second: 4 megapixels of noise, half transparent, in few bytes."""
    rng = np.random.default_rng(0)
    return encode_image(rng.integers(0, 255, (40, 40, 4), dtype=np.uint8).repeat(49, 0).repeat(49, 1))
