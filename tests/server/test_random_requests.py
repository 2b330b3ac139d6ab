"""Random, mutated and generated requests."""

import io
import json
import random

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]' brings it")

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from src.server.model import sample_digit
from tests.server.client import JSON, PNG, encode_image, is_error, send_all, to_base64


def mutate(rng, content):
    """A copy with bytes flipped, deleted, repeated or inserted."""
    body = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not body:
            break
        place, kind = rng.randrange(len(body)), rng.randrange(5)
        if kind == 0:
            body[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            body[place] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del body[place : place + rng.randint(1, 64)]
        elif kind == 3:
            body[place:place] = body[place : place + rng.randint(1, 64)]
        else:
            body[place:place] = rng.randbytes(rng.randint(1, 16))
    return bytes(body)


@pytest.mark.slow
def test_two_thousand_random_and_mutated_bodies_get_no_500(app):
    """No body is answered with 500 or more, and all errors have one shape."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    grey = np.kron(noise.integers(0, 255, (8, 8), dtype=np.uint8), np.ones((6, 6), np.uint8))
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    moving = io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    clear = io.BytesIO()
    Image.merge("RGBA", [frames[0]] * 4).save(clear, "PNG")
    pictures = [encode_image(grey, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")]
    pictures += [sample_digit(), moving.getvalue(), clear.getvalue(), encode_image(grey.astype(np.uint16) * 257)]
    texts = [json.dumps(value).encode() for value in (
        {"image": to_base64(sample_digit())}, {"images": [to_base64(c) for c in pictures[:5]]},
        {"image": to_base64(sample_digit()), "box": [1, 2, 3, 4], "answer": "1", "correction": "7"},
    )]  # fmt: skip
    odd = [b"", b"\0", b"null", b"[" * 5000, b'{"image":' * 900, b"1e999", b'"\\ud800"', b'{"images":[null,1,{}]}']
    requests = []
    for index in range(2000):
        kind = index % 10
        if kind < 6:
            body, headers, path = mutate(rng, rng.choice(pictures)), PNG, "/predict"
        elif kind == 6:
            body, headers, path = rng.randbytes(rng.randint(0, 400)), PNG, "/predict"
        elif kind == 7:
            body, headers, path = mutate(rng, rng.choice(texts)), JSON, "/predict"
        elif kind == 8:
            body, headers, path = mutate(rng, texts[2]), JSON, "/corrections"
        else:
            body, headers, path = rng.choice(odd), JSON, rng.choice(("/predict", "/corrections"))
        query = rng.choice(("", "?look=true", "?top_k=2", "?top_k=%FF", "?look=%00&top_k=3")) if kind < 8 else ""
        requests.append(("POST", path + query, {"content": body, "headers": headers}))
    statuses = {}
    for start in range(0, 2000, 8):
        for response in send_all(app, *requests[start : start + 8]):
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            assert response.status_code in (200, 201, 400, 413, 415, 422), response.text
            if response.status_code >= 400:
                assert is_error(response, response.status_code, response.json()["error"]["code"])
    assert sum(statuses.values()) == 2000 and len(statuses) >= 5, statuses
    assert app.admission.in_use == 0


@pytest.mark.slow
def test_requests_generated_from_the_description_get_described_responses(app):
    """Schemathesis generates requests that fit the OpenAPI description and ones that do not.

    Requests that fit may be rejected: no schema can say that bytes are a picture.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "localhost"})
    checks = schemathesis.checks.CHECKS.get_all()
    skipped = ("positive_data_acceptance", "max_response_time")
    checks = [check for check in checks if check.__name__ not in skipped]
    called = []
    for result in schema.get_all_operations():
        operation = result.ok()
        modes = [schemathesis.GenerationMode.POSITIVE]
        if operation.path in ("/predict", "/corrections"):  # other routes have no input
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:

            @seed(0)
            @settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def check_case(case):
                called.append(case.operation.path)
                case.call_and_validate(checks=checks, headers={"host": "localhost"})

            check_case()
    assert set(called) >= {"/predict", "/corrections", "/model", "/healthz", "/readyz", "/metrics"}
    assert len(called) > 100
