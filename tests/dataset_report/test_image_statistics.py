"""Statistics, nearest images, principal components and outliers, against their definitions."""

import pytest
import torch

from src.dataset_report.duplicates import (
    K,
    explain_outliers,
    identical_groups,
    knn_distances,
    nearest_images,
    outlier_ratio,
)
from src.dataset_report.statistics import class_mean_std, fit_pca, level_histogram


def test_class_means_and_level_histograms_match_their_definition():
    images = torch.randint(256, (50, 3, 5, 4), dtype=torch.uint8)
    labels = torch.arange(50) % 2
    mean, std = class_mean_std(images, labels, 3)
    torch.testing.assert_close(mean[1], images[1::2].float().mean(0))
    torch.testing.assert_close(std[0], images[::2].float().std(0, correction=0))
    assert (mean[2] == 0).all()
    found = level_histogram(images)
    assert found.sum(1).tolist() == [1000] * 3
    assert found[2, 7] == (images[:, 2] == 7).sum()


def test_nearest_images_are_the_nearest():
    generator = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(300, 20, generator=generator), torch.randn(1100, 20, generator=generator)
    rows, distances = nearest_images(queries, keys)
    truth = torch.cdist(queries, keys).min(1)
    assert rows.equal(truth.indices)
    torch.testing.assert_close(distances, truth.values, atol=1e-4, rtol=1e-4)
    rows, _ = nearest_images(keys, keys, same=True)
    assert rows.equal(torch.cdist(keys, keys).fill_diagonal_(9e9).min(1).indices)


@pytest.mark.parametrize("count", [12, 90])
def test_principal_components_are_orthonormal_and_explain_their_variance(count):
    """With fewer and with more vectors than dimensions; the residual is the variance of the other components."""
    vectors = torch.randn(count, 30, generator=torch.Generator().manual_seed(0))
    pca = fit_pca(vectors, 5)
    torch.testing.assert_close(pca.basis.T @ pca.basis, torch.eye(5), atol=1e-4, rtol=1e-4)
    centred = vectors - vectors.mean(0)
    rest = centred - pca.transform(vectors) @ pca.basis.T
    assert float(rest.square().sum() / count) == pytest.approx(float(pca.variances[5:].sum()), rel=1e-3)
    found = nearest_images(vectors, vectors, pca)
    assert found[0].equal(torch.arange(count))
    assert found[1].max() < 1e-5


def test_identical_groups_hold_whole_copies_only():
    images = torch.randint(256, (6, 1, 4, 4), dtype=torch.uint8)
    images[4], images[5], images[3] = images[1], images[1], images[0]
    images[3, 0, 0, 0] ^= 1
    assert identical_groups(images) == [[1, 4, 5]]


def test_outlier_ratio_is_one_at_the_median_and_nan_for_a_single_image():
    vectors = torch.cat([torch.randn(40, 5), torch.full((1, 5), 9.0), torch.zeros(1, 5)])
    labels = torch.tensor([0] * 41 + [1])
    distances = knn_distances(vectors, labels, 2)
    kth = torch.cdist(vectors[:41], vectors[:41]).sort(1).values[:, K]
    torch.testing.assert_close(distances[:41], kth, atol=1e-3, rtol=1e-3)
    ratios = outlier_ratio(distances, labels, 2)
    assert int(ratios.nan_to_num(0).argmax()) == 40
    assert float(ratios[:41].median()) == pytest.approx(1)
    assert ratios[41].isnan()


def test_outliers_are_explained_by_the_measure_that_differs():
    measures = {"mass": torch.tensor([9.0, 10, 11, 10, 50]), "slant": torch.tensor([0.0, 1, 2, 1, 1])}
    measures["slant"][2] = torch.nan
    rows, blank = torch.tensor([4, 1, 2]), ("slant", "no ink")
    found = explain_outliers(measures, torch.zeros(5, dtype=torch.int64), 1, rows, blank)
    assert found == ["mass 50.0, usual 10.0", "unusual shape", "no ink"]
