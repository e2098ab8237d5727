# SPDX-License-Identifier: Apache-2.0
"""Fidelity and diversity: closed forms, cases counted by hand, and the published implementations."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tracemalloc

import numpy as np
import prdc
import pytest
import scipy.linalg
import scipy.spatial

from tfartgen import fidelity


def features(seed, rows, dimensions):
    """Correlated features away from zero, from a stream of random numbers that NumPy has frozen."""
    draws = np.random.RandomState(seed)
    mix = draws.uniform(-1, 1, [dimensions, dimensions])
    return draws.uniform(-1, 1, [rows, dimensions]) @ mix + draws.uniform(0, 1, dimensions)


def covariance_of(seed, dimensions):
    factor = np.random.RandomState(seed).randn(dimensions, dimensions)
    return factor @ factor.T


def labelled(seed, rows=60, dimensions=3, num_classes=3):
    labels = np.random.RandomState(seed).permutation(rows) % num_classes
    return features(seed, rows, dimensions), labels


@pytest.mark.parametrize("seed", range(10))
def test_frechet_distance_of_identical_gaussians_and_of_shifted_ones(seed):
    mean, covariance = np.arange(6.0), covariance_of(seed, 6)
    same = fidelity.gaussian_frechet_distance(mean, covariance, mean, covariance)
    assert 0 <= same < 1e-10  # without a floor, rounding makes some of the ten negative
    moved = mean + [3, 4, 0, 0, 0, 0]
    shifted = fidelity.gaussian_frechet_distance(mean, covariance, moved, covariance)
    assert shifted == pytest.approx(25, abs=1e-10)


def test_frechet_distance_of_diagonal_covariances_is_that_of_the_deviations():
    deviations, others = np.array([1.0, 2.0, 0.5, 0.0]), np.array([3.0, 2.0, 0.25, 1.0])
    value = fidelity.gaussian_frechet_distance(
        np.zeros(4), np.diag(deviations**2), np.ones(4), np.diag(others**2)
    )
    assert value == pytest.approx(4 + (2**2 + 0 + 0.25**2 + 1), rel=1e-12)


@pytest.mark.parametrize("commute", [True, False])
def test_frechet_distance_against_the_matrix_root_of_scipy(commute):
    covariance = covariance_of(1, 5)
    other = scipy.linalg.expm(covariance / 20) if commute else covariance_of(2, 5)
    assert np.allclose(covariance @ other, other @ covariance) == commute
    root = scipy.linalg.sqrtm(covariance @ other)
    expected = 5 * 0.3**2 + np.trace(covariance + other - 2 * root.real)
    value = fidelity.gaussian_frechet_distance(np.zeros(5), covariance, np.full(5, 0.3), other)
    assert value == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_samples_converges_to_that_of_their_gaussians():
    draws, covariance = np.random.default_rng(0), np.array([[2.0, 1.2], [1.2, 1.0]])
    real = draws.normal(size=[200_000, 2])
    artificial = draws.multivariate_normal([1.0, -1.0], covariance, 200_000)
    truth = fidelity.gaussian_frechet_distance(np.zeros(2), np.eye(2), [1.0, -1.0], covariance)
    # By hand: 2 from the means, 2 + 3 - 2 Tr C^(1/2), and (Tr C^(1/2))^2 = Tr C + 2 det^(1/2).
    assert truth == pytest.approx(7 - 2 * np.sqrt(3 + 2 * np.sqrt(0.56)), rel=1e-12)
    assert fidelity.frechet_distance(real, artificial) == pytest.approx(truth, rel=0.01)


def test_frechet_distance_uses_the_unbiased_covariance():
    # Variances 2 and 8, means 1 and 2.
    assert fidelity.frechet_distance([[0.0], [2.0]], [[0.0], [4.0]]) == pytest.approx(1 + 2)


# calculate_frechet_distance of pytorch-fid 0.3.0 (its source text alone, without PyTorch) with NumPy 1.26.4
# and SciPy 1.11.4, on x.mean(axis=0) and numpy.cov(x, rowvar=False) of `features` with the seeds 1 and 2.
@pytest.mark.parametrize(
    ("rows", "other_rows", "dimensions", "published", "tolerance"),
    [
        (500, 400, 8, 4.322562919071615, 1e-10),
        (300, 900, 32, 66.92446194185061, 1e-10),
        (40, 60, 64, 420.4257163166686, 1e-5),  # singular: SciPy's root has an error of some 1e-6
    ],
)
def test_frechet_distance_is_the_published_number(
    rows, other_rows, dimensions, published, tolerance
):
    real, artificial = features(1, rows, dimensions), features(2, other_rows, dimensions)
    assert fidelity.frechet_distance(real, artificial) == pytest.approx(published, rel=tolerance)
    assert fidelity.frechet_distance(artificial, real) == pytest.approx(published, rel=tolerance)


def test_frechet_distance_of_singular_covariances():
    few, line = features(3, 10, 50), np.outer(np.arange(4.0), np.ones(50))
    assert 0 <= fidelity.frechet_distance(few, few) < 1e-10
    # Rank 9 in 50 dimensions, moved and turned round: only the means differ.
    assert fidelity.frechet_distance(few, few + 0.1) == pytest.approx(0.5, abs=1e-10)
    # Along one line: 50 dimensions' deviation sqrt(5/3) against twice that, and the means 1.5 and 3.
    doubled = 50 * (1.5**2 + 5 / 3)
    assert fidelity.frechet_distance(line, 2 * line) == pytest.approx(doubled, rel=1e-12)
    # That deviation in one direction of 50 against 1 in each.
    single = fidelity.gaussian_frechet_distance(
        np.zeros(50), np.cov(line, rowvar=False), np.zeros(50), np.eye(50)
    )
    assert single == pytest.approx((np.sqrt(50 * 5 / 3) - 1) ** 2 + 49, rel=1e-12)
    constant = np.ones([3, 50])
    assert fidelity.frechet_distance(constant, constant) == 0
    assert fidelity.frechet_distance(constant, 3 * constant) == pytest.approx(200)


def test_frechet_distance_of_the_largest_features_is_finite():
    value = fidelity.frechet_distance([[-1e60, 1.0], [1e60, 1.0]], [[-1e60, 1.0], [0.0, 2.0]])
    # Deviations sqrt(2) and sqrt(1/2) times 1e60, means 0 and -0.5.
    assert value == pytest.approx((0.25 + 0.5) * 1e120)


REAL = np.array([[0.0], [1.0], [3.0], [7.0]])
ARTIFICIAL = np.array([[2.0], [4.5], [-20.0], [-30.0], [-40.0]])


def test_neighbourhood_metrics_counted_by_hand():
    # Real balls (-1, 1), (0, 2), (1, 5), (3, 11): 2.0, which touches the second, is in one and 4.5 in two.
    # Artificial balls (-0.5, 4.5), (2, 7), (-30, -10) and beyond: 7 touches one.
    assert fidelity.neighbourhood_metrics(REAL, ARTIFICIAL, k=1) == (
        fidelity.NeighbourhoodMetrics(precision=2 / 5, recall=3 / 4, density=3 / 5, coverage=2 / 4)
    )


def test_neighbourhood_metrics_of_the_second_neighbour_counted_by_hand():
    # Real balls (-3, 3), (-1, 3), (0, 6), (1, 13): 2.0 is in four and 4.5 in two.
    # The ball of 2.0, whose second neighbour is -20, has all real points inside.
    assert fidelity.neighbourhood_metrics(REAL, ARTIFICIAL, k=2) == (
        fidelity.NeighbourhoodMetrics(precision=2 / 5, recall=1, density=6 / 10, coverage=1)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("rows", "other_rows", "dimensions", "k", "scale"),
    [(200, 300, 2, 1, 0.8), (300, 200, 8, 5, 1.3), (150, 150, 100, 3, 1.03), (12, 30, 4, 2, 1.3)],
)
def test_neighbourhood_metrics_are_those_of_prdc(rows, other_rows, dimensions, k, scale, dtype):
    both = features(4, rows + other_rows, dimensions).astype(dtype)
    real, artificial = both[:rows], both[rows:] * dtype(scale)
    with contextlib.redirect_stdout(io.StringIO()):
        published = prdc.compute_prdc(real, artificial, k)
    ours = dataclasses.asdict(fidelity.neighbourhood_metrics(real, artificial, k))
    assert ours == pytest.approx(published, rel=1e-12)
    assert all(0 < published[name] < 1 for name in ("precision", "coverage"))


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_a_set_overlaps_with_itself_whatever_the_rounding(offset):
    # Each point is in its own ball and those of its k - 1 nearest; the k-th is on the surface, outside.
    points = features(6, 300, 7) + offset
    metrics = fidelity.neighbourhood_metrics(points, points[::-1], k=4)
    assert metrics == fidelity.NeighbourhoodMetrics(precision=1, recall=1, density=1, coverage=1)


@pytest.mark.parametrize("seed", range(20))
def test_points_on_the_surface_are_outside_whatever_the_rounding(seed):
    # Points in steps of one vector, exact in binary; each ball reaches one step. Their mean is not exact.
    start, step = np.random.RandomState(seed).randint(-(2**20), 2**20, [2, 7]) / 2**20
    real = start + np.array([[0], [1], [5], [6], [9], [10]]) * step
    artificial = start + np.array([[-2], [-1], [2], [3], [7], [8]]) * step
    metrics = fidelity.neighbourhood_metrics(real, artificial, k=1)
    assert metrics == fidelity.NeighbourhoodMetrics(precision=0, recall=0, density=0, coverage=0)


@pytest.mark.parametrize("points", [np.zeros([20, 7]), features(7, 20, 7)])
def test_balls_of_no_radius_have_nothing_inside(points):
    # A point and its copies, which prdc tells apart by the rounding of their distances.
    points = np.repeat(points, 3, axis=0)
    metrics = fidelity.neighbourhood_metrics(points, points, k=2)
    assert metrics == fidelity.NeighbourhoodMetrics(precision=0, recall=0, density=0, coverage=0)
    labels = np.zeros(60, int)
    assert fidelity.class_coverage(points, labels, points, labels, 1, k=2) == 0


def all_metrics(real, real_labels, artificial, artificial_labels):
    """Each result of the module as one vector."""
    overlap = dataclasses.astuple(fidelity.neighbourhood_metrics(real, artificial, k=3))
    distance = fidelity.frechet_distance(real, artificial)
    sets = real, real_labels, artificial, artificial_labels
    diversity = fidelity.class_diversity(*sets, num_classes=3)
    coverage = fidelity.class_coverage(*sets, num_classes=3, k=3)
    return np.array([*overlap, distance, *diversity, *coverage])


@pytest.mark.parametrize("block", [1, 100, 777])
def test_blocks_change_nothing(monkeypatch, block):
    sets = *labelled(8), *labelled(9, rows=45)
    whole = all_metrics(*sets)
    monkeypatch.setattr(fidelity, "_BLOCK", block)
    np.testing.assert_allclose(all_metrics(*sets), whole, rtol=1e-12)


def test_the_order_of_examples_changes_nothing():
    (real, real_labels), (artificial, artificial_labels) = labelled(8), labelled(9, rows=45)
    ours, theirs = np.random.RandomState(0).permutation(60), np.random.RandomState(1).permutation(
        45
    )
    np.testing.assert_allclose(
        all_metrics(real[ours], real_labels[ours], artificial[theirs], artificial_labels[theirs]),
        all_metrics(real, real_labels, artificial, artificial_labels),
        rtol=1e-9,
    )


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(fidelity, "_BLOCK", 2**16)
    real, artificial = features(1, 3000, 2), features(2, 3000, 2)
    labels = np.zeros(3000, int)
    tracemalloc.start()
    try:
        fidelity.neighbourhood_metrics(real, artificial)
        fidelity.class_coverage(real, labels, artificial, labels, 1)
        fidelity.class_diversity(real, labels, artificial, labels, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 20  # one matrix of all distances takes 72 MB


def test_class_diversity_counted_by_hand():
    # Class 0: real distances 3, 4, 5, artificial 1. Class 1: 10 against 5, 5, 10. Class 2 has one real example.
    real = [[0, 0], [3, 0], [0, 4], [0, 0], [6, 8], [1, 1]]
    artificial = [[7, 0], [8, 0], [0, 0], [3, 4], [6, 8], [1, 1], [2, 2]]
    diversity = fidelity.class_diversity(
        real, [0, 0, 0, 1, 1, 2], artificial, [0, 0, 1, 1, 1, 2, 2], num_classes=4
    )
    np.testing.assert_allclose(diversity, [1 / 4, (20 / 3) / 10, np.nan, np.nan], rtol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_class_diversity_is_nan_without_two_artificial_or_two_different_real_examples(seed):
    first, second = features(seed, 2, 200)
    real = np.array([first, second] + [first] * 7)
    artificial = np.array([first, first, second])
    diversity = fidelity.class_diversity(real, [0] * 2 + [1] * 7, artificial, [0, 1, 1], 2)
    np.testing.assert_array_equal(diversity, [np.nan, np.nan])


def test_class_diversity_against_all_pairs_of_scipy():
    (real, real_labels), (artificial, artificial_labels) = labelled(10), labelled(11, rows=45)
    diversity = fidelity.class_diversity(real, real_labels, artificial, artificial_labels, 3)
    expected = [
        scipy.spatial.distance.pdist(artificial[artificial_labels == label]).mean()
        / scipy.spatial.distance.pdist(real[real_labels == label]).mean()
        for label in range(3)
    ]
    np.testing.assert_allclose(diversity, expected, rtol=1e-12)


def test_a_collapsed_class_has_no_diversity_and_low_coverage():
    (real, labels), artificial = labelled(12, 90, 200), features(12, 90, 200) + 1e-3
    artificial[labels == 1] = artificial[labels == 1][0]
    sets = real, labels, artificial, labels
    diversity, coverage = fidelity.class_diversity(*sets, 3), fidelity.class_coverage(*sets, 3)
    assert diversity[1] == 0
    np.testing.assert_allclose(diversity[[0, 2]], 1, rtol=1e-9)
    assert coverage[1] < 0.5
    np.testing.assert_array_equal(coverage[[0, 2]], 1)


def test_class_coverage_is_coverage_within_the_class_counted_by_hand():
    # Class 0 is REAL; class 1 is REAL with an artificial example of class 0 on each point and 2.5 of its own,
    # which is in (1, 5) alone; class 2 has two real examples, class 3 no artificial, class 4 one real example.
    real = np.concatenate([REAL, REAL + 100, [[0.0], [1.0]], [[0.0], [1.0]], [[0.0]]])
    real_labels = np.repeat([0, 1, 2, 3, 4], [4, 4, 2, 2, 1])
    artificial = np.concatenate([ARTIFICIAL, REAL + 100, [[102.5], [0.0], [0.0]]])
    artificial_labels = np.repeat([0, 1, 2, 4], [9, 1, 1, 1])
    sets = real, real_labels, artificial, artificial_labels
    coverage = fidelity.class_coverage(*sets, num_classes=5, k=1)
    np.testing.assert_array_equal(coverage, [2 / 4, 1 / 4, 1 / 2, np.nan, np.nan])
    assert np.isnan(fidelity.class_coverage(*sets, num_classes=5, k=4)).all()


GOOD = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize("metric", [fidelity.frechet_distance, fidelity.neighbourhood_metrics])
@pytest.mark.parametrize(
    ("real", "artificial", "message"),
    [
        (GOOD[0], GOOD, r"real must be numbers \[examples, dimensions\], got float64 \(2,\)"),
        (GOOD, GOOD[None], r"artificial must be numbers .*, got float64 \(1, 6, 2\)"),
        (GOOD, GOOD[:, :0], r"artificial must be numbers .*, got float64 \(6, 0\)"),
        (GOOD.astype(str), GOOD, r"real must be numbers .*, got <U32 \(6, 2\)"),
        (GOOD, GOOD[:, :1], "artificial must have the 2 dimensions of real, got 1"),
        (np.where(GOOD == 3, np.nan, GOOD), GOOD, "real must be finite and .* size, got nan"),
        (GOOD, np.where(GOOD == 3, -np.inf, GOOD), "artificial must be finite and .*, got -inf"),
        (GOOD, GOOD * 1e60, r"artificial must be finite and at most 1e\+60 in size, got 2e\+60"),
    ],
)
def test_bad_features_are_named(metric, real, artificial, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        metric(real, artificial)


@pytest.mark.parametrize("name", ["real", "artificial"])
def test_too_few_examples_are_refused(name):
    few = {"real": GOOD, "artificial": GOOD, name: GOOD[:1]}
    with pytest.raises(ValueError, match=f"^{name} must be at least 2 examples, got 1$"):
        fidelity.frechet_distance(**few)
    few[name] = GOOD[:5]
    with pytest.raises(ValueError, match=f"^{name} must be at least 6 examples, got 5$"):
        fidelity.neighbourhood_metrics(**few, k=5)
    few[name] = GOOD
    fidelity.neighbourhood_metrics(**few, k=5)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, float("nan")])
def test_bad_k_is_named(k):
    labels = np.zeros(6, int)
    message = f"^k must be a positive whole number, got {k}$"
    with pytest.raises(ValueError, match=message):
        fidelity.neighbourhood_metrics(GOOD, GOOD, k)
    with pytest.raises(ValueError, match=message):
        fidelity.class_coverage(GOOD, labels, GOOD, labels, 1, k)


@pytest.mark.parametrize("metric", [fidelity.class_diversity, fidelity.class_coverage])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_classes", 0, "num_classes must be a positive whole number, got 0"),
        ("real_labels", np.zeros(5, int), r"real_labels must be 6 whole numbers, got int64 \(5,\)"),
        ("artificial_labels", np.zeros(6), r"artificial_labels must be 6 .*, got float64 \(6,\)"),
        ("real_labels", np.arange(6), "real_labels must be from 0 to 4, got 5"),
        ("artificial_labels", np.arange(6) - 1, "artificial_labels must be from 0 to 4, got -1"),
        ("artificial", GOOD[:, :1], "artificial must have the 2 dimensions of real, got 1"),
        ("real", GOOD * np.nan, "real must be finite and .*, got nan"),
    ],
)
def test_bad_classes_are_named(metric, name, value, message):
    sets = {"real": GOOD, "real_labels": np.zeros(6, int), "artificial": GOOD}
    sets.update(artificial_labels=np.zeros(6, int), num_classes=5)
    with pytest.raises(ValueError, match=f"^{message}$"):
        metric(**{**sets, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", np.eye(2), r"mean must be numbers \[dimensions\], got float64 \(2, 2\)"),
        ("other_mean", np.zeros(3), r"other_mean must be \[2\] as mean is, got \[3\]"),
        ("covariance", np.eye(3), r"covariance must have the shape \(2, 2\), got \(3, 3\)"),
        (
            "other_covariance",
            np.array([[1, 0.5], [0, 1]]),
            "other_covariance must be symmetric, .*",
        ),
        ("covariance", np.diag([1, -0.5]), "covariance must be positive .*, got eigenvalue -0.5"),
        ("covariance", np.full([2, 2], np.inf), "covariance must be finite and .*, got inf"),
    ],
)
def test_bad_gaussians_are_named(name, value, message):
    gaussians = {"mean": np.zeros(2), "covariance": np.eye(2), "other_mean": np.zeros(2)}
    gaussians["other_covariance"] = np.eye(2)
    with pytest.raises(ValueError, match=f"^{message}$"):
        fidelity.gaussian_frechet_distance(**{**gaussians, name: value})
