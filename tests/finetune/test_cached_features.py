"""Cached features instead of images while only the head trains."""

import pytest
import torch

from src.data.augment import Shift
from src.data.batches import FeatureCache
from src.data.datamodule import ImageData
from src.finetune.method import Head, ProbeThenFull
from src.models.lenet import LeNet
from src.models.structure import extract_features, find_head
from tests.conf_options import SHAPE, make_model
from tests.tuning import tune


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
def test_a_head_trains_alike_on_cached_features_and_on_images(data, tmp_path):
    heads = []
    for passes in (None, 0):
        model, method = make_model("resnet"), Head(cached_passes=passes)
        torch.manual_seed(1)
        trainer = tune(method.adapt(model, SHAPE), method, data, tmp_path, epochs=3, batches=1.0)
        assert bool(data.feature_cache._train) == (passes is None)
        assert data.train_set.features is data.val_set.features is None, "images again after training"
        heads.append((find_head(model)[1].weight.detach().clone(), float(trainer.callback_metrics["val/loss"])))
        data.feature_cache = FeatureCache(data)
    assert torch.allclose(heads[0][0], heads[1][0], atol=1e-4)
    assert heads[0][1] == pytest.approx(heads[1][1], abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
def test_images_replace_features_when_more_than_the_head_trains(data, tmp_path):
    model, method = LeNet(SHAPE, 10), ProbeThenFull(probe=0.5)
    first = model.features[0].weight.detach().clone()
    tune(method.adapt(model, SHAPE), method, data, tmp_path, epochs=2)
    assert data.train_set.features is None
    assert not first.equal(model.features[0].weight)


@pytest.mark.filterwarnings("ignore:.*eval mode at the start", "ignore:.*does not have many workers")
def test_cached_features_do_not_depend_on_workers_that_decode(picture_folder, tmp_path):
    results = []
    for gb in (1, 0):
        data = ImageData("folder", root=str(picture_folder), val=0.2, memory_gb=gb, num_workers=1, batch_size=8)
        data.setup()
        assert isinstance(data.train_set.images, torch.Tensor) == bool(gb)
        data.augment = Shift(1)
        torch.manual_seed(0)
        model, method = LeNet(data.info.shape, 2), ProbeThenFull(probe=0.5, cached_passes=2)
        trainer = tune(method.adapt(model, data.info.shape), method, data, tmp_path, epochs=4, batches=1.0)
        results.append((model.state_dict(), float(trainer.callback_metrics["val/loss"])))
    (ours, our_loss), (theirs, their_loss) = results
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    assert our_loss == pytest.approx(their_loss, rel=1e-5)


def test_cached_passes_take_turns(data):
    data.augment = Shift(2)
    model = LeNet(SHAPE, 10).eval()
    features = []
    for epoch in range(4):
        data.feature_cache.enable(lambda batches: extract_features(model, batches), 2, epoch, torch.device("cpu"))
        features.append(data.train_set.features)
    assert features[0] is features[2]
    assert features[1] is features[3]
    assert not torch.allclose(features[0], features[1])
