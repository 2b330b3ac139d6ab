"""Distillation: the published loss, on the teacher's own images."""

import pytest
import torch
import torch.nn.functional as F

from src.data.normalize import Normalize
from src.errors import InputError
from src.model_files.checkpoint import load_model
from src.models.mlp import MLP
from src.training.distillation import Distill
from src.training.losses import CrossEntropy
from tests.configs import write_teacher
from tests.tuning import tune

SHAPE = (1, 28, 28)


@pytest.fixture
def teacher(tmp_path, data_root):
    return write_teacher(tmp_path / "teacher.ckpt", data_root)


def test_the_loss_is_its_formula_on_the_teachers_own_images(teacher, small_kmnist):
    from dataclasses import replace

    loss = Distill(str(teacher), temperature=3.0, weight=0.7)
    net = load_model(teacher)
    raw = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8)
    labels, logits = torch.arange(6), torch.randn(6, 10, requires_grad=True)
    info = replace(small_kmnist.info, mean=(0.4,), std=(0.9,))
    images = Normalize(info.mean, info.std)(raw)
    with torch.no_grad():
        p = (net(raw) / 3).softmax(1)
    q = (logits / 3).softmax(1)
    kl = (p * (p / q).log()).sum(1).mean()
    value = loss(logits, labels, images, info)
    assert value.item() == pytest.approx((0.3 * F.cross_entropy(logits, labels) + 0.7 * 9 * kl).item(), abs=1e-4)
    value.backward()
    assert logits.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.net.parameters())
    alone = Distill(str(teacher), weight=0.0)(logits, labels, images, info)
    assert alone.item() == pytest.approx(CrossEntropy()(logits, labels).item())
    assert not list(loss.state_dict()), "no part of a checkpoint"
    assert loss.seconds > 0


def test_unsuitable_teachers_are_refused(teacher, small_kmnist, tmp_path):
    from dataclasses import replace

    with pytest.raises(InputError, match=r"loss\.teacher=nowhere: there is no such file"):
        Distill("nowhere")
    with pytest.raises(InputError, match=r"loss\.teacher is missing"):
        Distill()
    for wrong in ({"temperature": 0}, {"weight": 1.5}):
        with pytest.raises(InputError, match=rf"loss\.{next(iter(wrong))}"):
            Distill(str(teacher), **wrong)
    loss = Distill(str(teacher))
    loss.check(small_kmnist.info)
    with pytest.raises(InputError, match="knows the classes"):
        loss.check(replace(small_kmnist.info, class_names=("a", "b")))
    with pytest.raises(InputError, match="reads images of 1x28x28"):
        loss.check(replace(small_kmnist.info, shape=(3, 32, 32)))
    with pytest.raises(InputError, match=r"finetune\.cached_passes=0"):
        loss(torch.zeros(2, 10), torch.zeros(2, dtype=torch.long), torch.zeros(2, 5), small_kmnist.info)


def test_a_student_learns_the_predictions_of_its_teacher(teacher, small_kmnist, tmp_path):
    loss, student = Distill(str(teacher), weight=1.0, temperature=1.0), MLP(SHAPE, 10)
    net = load_model(teacher)
    raw = small_kmnist.train_set[torch.arange(100)][0]
    agreed = [(student(small_kmnist.normalize(raw)).argmax(1) == net(raw).argmax(1)).float().mean()]
    tune(student, None, small_kmnist, tmp_path, epochs=12, batches=1.0, loss=loss)
    agreed.append((student(small_kmnist.normalize(raw)).argmax(1) == net(raw).argmax(1)).float().mean())
    assert agreed[1] > 0.9 > agreed[0]
