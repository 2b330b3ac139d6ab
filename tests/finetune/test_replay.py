"""The replay buffer, and the losses of methods that replay."""

import pytest
import torch
import torch.nn.functional as F

from src.finetune.continual import HIDDEN, hidden_classes
from src.finetune.replay import (
    UNSEEN,
    AdjustedReplay,
    AsymmetricReplay,
    DarkExperience,
    DarkExperiencePlus,
    Replay,
)
from src.finetune.replay_buffer import ReplayBuffer


def stream(buffer: ReplayBuffer, count: int, batch: int, labels=None) -> None:
    """Offer images 0..count-1, whose grey level is their number."""
    labels = torch.zeros(count, dtype=torch.long) if labels is None else labels
    for rows in torch.arange(count).split(batch):
        images = rows.to(torch.uint8).view(-1, 1, 1, 1)
        buffer.add(images, labels[rows], rows.float().unsqueeze(1))


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_each_image_of_a_stream_is_as_likely_to_be_kept(batch):
    count, size, repeats = 60, 12, 1500
    kept = torch.zeros(count)
    for seed in range(repeats):
        buffer = ReplayBuffer(size, seed)
        stream(buffer, count, batch)
        held = buffer.images[:, 0, 0, 0].long()
        assert len(held.unique()) == size == buffer.filled
        kept[held] += 1
    expected = repeats * size / count
    # Of a draw without repetition: each count is binomial, and they sum up to a constant.
    chi_square = float(((kept - expected) ** 2 / (expected * (1 - size / count))).sum()) * (count - 1) / count
    assert chi_square < 59 + 4.5 * (2 * 59) ** 0.5


@pytest.mark.parametrize("batch", [1, 10])
def test_a_balanced_buffer_has_as_many_of_each_class(batch):
    labels = torch.cat([torch.zeros(200), torch.ones(30), torch.full((4,), 2), torch.full((100,), 3)]).long()[
        torch.randperm(334, generator=torch.Generator().manual_seed(0))
    ]
    for seed in range(5):
        buffer = ReplayBuffer(40, seed, balanced=True)
        stream(buffer, 250, batch, labels)
        counts = buffer.labels.bincount(minlength=4)
        present = labels[:250].bincount(minlength=4)
        assert counts.sum() == 40
        small = present < 40 // 4
        assert torch.equal(counts[small], present[small])
        assert counts[~small].max() - counts[~small].min() <= 2


@pytest.mark.parametrize("balanced", [False, True])
def test_a_buffer_takes_the_room_of_what_it_holds(balanced):
    buffer = ReplayBuffer(10**12, 0, balanced)
    stream(buffer, 70, 8)
    assert buffer.filled == 70 and len(buffer.images) < 150
    assert torch.equal(buffer.images[:70, 0, 0, 0], torch.arange(70).to(torch.uint8))
    again = ReplayBuffer(10**12, 0, balanced)
    again.load(buffer.state(), torch.device("cpu"))
    for one in (buffer, again):
        stream(one, 30, 8)
    assert torch.equal(buffer.images[:100], again.images[:100]) and torch.equal(buffer.logits[:100], again.logits[:100])


def test_a_balanced_buffer_is_fair_within_a_class():
    kept, repeats = torch.zeros(60), 1500
    labels = torch.arange(60) % 2
    for seed in range(repeats):
        buffer = ReplayBuffer(12, seed, balanced=True)
        stream(buffer, 60, 6, labels)
        kept[buffer.images[:, 0, 0, 0].long()] += 1
    expected = repeats * 12 / 60
    chi_square = float(((kept - expected) ** 2 / (expected * 0.8)).sum())
    assert chi_square < 60 + 4.5 * 120**0.5


def test_a_buffer_as_large_as_the_stream_is_the_stream():
    buffer = ReplayBuffer(1000, 0)
    stream(buffer, 250, 9)
    assert torch.equal(buffer.images[:250, 0, 0, 0].long(), torch.arange(250))
    assert buffer.filled == 250


def test_a_state_goes_on_as_if_nothing_had_happened():
    for balanced in (False, True):
        labels = torch.arange(250) % 3
        whole, first = ReplayBuffer(20, 3, balanced), ReplayBuffer(20, 3, balanced)
        stream(whole, 250, 10, labels)
        stream(first, 120, 10, labels)
        second = ReplayBuffer(20, 3, balanced)
        second.load(first.state(), torch.device("cpu"))
        for rows in torch.arange(120, 250).split(10):
            second.add(rows.to(torch.uint8).view(-1, 1, 1, 1), labels[rows], rows.float().unsqueeze(1))
        for name in ("images", "labels", "logits"):
            assert torch.equal(getattr(second, name), getattr(whole, name))
        for ours, theirs in zip(second.sample(5), whole.sample(5), strict=True):
            assert torch.equal(ours, theirs)
        images, _, logits = whole.sample(7)
        assert torch.equal(images[:, 0, 0, 0].float(), logits[:, 0]) and len(images.unique()) == 7


LOGITS, LABELS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 3, 2, 2, 3, 3])
OLD = [
    (torch.randn(5, 4, generator=torch.Generator().manual_seed(n)), torch.tensor([0, 1, 0, 1, 1]), torch.zeros(5, 4))
    for n in (1, 2)
]


def combined(method, task=1, old=OLD):
    method._criterion, method._hidden, method.task = F.cross_entropy, None, task
    return method.combine(LOGITS, LABELS, old[: method.draws])


def test_replay_is_the_mean_over_new_and_old_images():
    logits, labels = torch.cat([LOGITS, OLD[0][0]]), torch.cat([LABELS, OLD[0][1]])
    assert torch.equal(combined(Replay()), F.cross_entropy(logits, labels))


def test_dark_experience_adds_the_squared_distance_of_logits_and_a_second_loss():
    plain, distance = F.cross_entropy(LOGITS, LABELS), OLD[0][0].square().mean()
    assert torch.allclose(combined(DarkExperience(alpha=0.3)), plain + 0.3 * distance)
    second = F.cross_entropy(OLD[1][0], OLD[1][1])
    assert torch.allclose(combined(DarkExperiencePlus(alpha=0.3, beta=0.7)), plain + 0.3 * distance + 0.7 * second)
    first = F.cross_entropy(OLD[0][0], OLD[0][1])  # the only draw
    assert torch.allclose(combined(DarkExperiencePlus(alpha=0, beta=0.7)), plain + 0.7 * first)


def test_without_its_weight_dark_experience_is_plain():
    assert DarkExperience(alpha=0).draws == DarkExperiencePlus(alpha=0, beta=0).draws == 0
    assert torch.equal(combined(DarkExperience(alpha=0)), F.cross_entropy(LOGITS, LABELS))
    assert torch.equal(combined(DarkExperiencePlus(alpha=0, beta=0)), F.cross_entropy(LOGITS, LABELS))


def test_asymmetric_replay_tells_new_classes_from_one_another_only():
    new = F.cross_entropy(LOGITS[:, 2:], LABELS - 2)
    assert torch.allclose(combined(AsymmetricReplay()), new + F.cross_entropy(OLD[0][0], OLD[0][1]))
    assert torch.allclose(combined(AsymmetricReplay(), task=0), F.cross_entropy(LOGITS, LABELS))


def test_adjusted_replay_adds_the_logarithm_of_each_classs_share_of_a_step():
    method = AdjustedReplay(alpha=0.3, tau=0.5, buffer=10)
    stream(method.buffer, 10, 5, torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1]))  # 6 and 4 of 10
    shares = torch.tensor([5 * 0.6, 5 * 0.4, 3, 3]) / 11  # of 5 replayed images, and of LABELS
    logits, labels = torch.cat([LOGITS, OLD[0][0]]), torch.cat([LABELS, OLD[0][1]])
    expected = F.cross_entropy(logits + 0.5 * shares.log(), labels) + 0.3 * OLD[0][0].square().mean()
    assert torch.allclose(combined(method), expected)
    assert torch.allclose(combined(method, old=[]), F.cross_entropy(LOGITS, LABELS))
    rare = method._log_shares(torch.tensor([2]), 1, torch.zeros(1, 4))
    assert torch.allclose(rare.exp(), torch.tensor([0.6, 0.4, 1, UNSEEN]) / 2)


def test_classes_of_other_tasks_are_hidden():
    hidden = hidden_classes(((0, 2), (1, 3)), 4)
    assert hidden.int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert float(torch.tensor([0.0, HIDDEN]).softmax(0)[1]) == 0.0
    assert not hidden_classes(((0, 1), (0, 1)), 2).any()
