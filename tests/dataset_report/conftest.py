"""Fixtures of this room."""

import pytest
import torch

from src.dataset_report.context import ReportContext
from src.dataset_report.report import SECTIONS
from src.dataset_report.sample import SplitSample
from tests.dataset_report.samples import dataset_sample, digits


@pytest.fixture(scope="session")
def planted() -> tuple[dict, dict]:
    """Sections on the bundled digits with planted copies and wrong labels, and the rows of what was planted."""
    train, test, names = digits()
    generator = torch.Generator().manual_seed(7)
    images, labels = train.images.clone(), train.labels.clone()
    leak = torch.randperm(len(test), generator=generator)[:12]
    target = torch.randperm(len(images), generator=generator)[:12]
    exact, shifted, noisy = target.split(4)
    images[exact] = test.images[leak[:4]]
    images[shifted] = (test.images[leak[4:8]].float() * 0.8 + 30).round().to(torch.uint8)
    noise = torch.randn(4, *images.shape[1:], generator=generator) * 4
    images[noisy] = (test.images[leak[8:]].float() + noise).clamp(0, 255).to(torch.uint8)
    labels[target] = test.labels[leak]
    labels[exact[0]] = (labels[exact[0]] + 1) % 10
    rest = torch.arange(len(images))[~torch.isin(torch.arange(len(images)), target)]
    flipped = rest[torch.randperm(len(rest), generator=generator)[:20]]
    labels[flipped] = (labels[flipped] + torch.randint(1, 10, (20,), generator=generator)) % 10
    sample = SplitSample(images, labels, train.rows, len(images))
    context = ReportContext(dataset_sample(sample, test, names), suspects=60)
    sections = {name: SECTIONS[name](context) for name in ("neighbours", "labels")}
    return sections, {"leak": leak, "target": target, "flipped": flipped, "exact": exact}
