# SPDX-License-Identifier: Apache-2.0
"""How much artificial examples are like real ones, from features of both: [examples, dimensions].

Features are what a network computes from images, or their flattened pixels. Arithmetic is in float64, and of a
matrix of distances one block exists at a time. None of these numbers is differentially private with regard to the
`real` examples: whoever publishes one must be free to publish about them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfartgen import _validate

#: Which neighbour a ball reaches to, as in Naeem et al. 2020.
NEIGHBOURS = 5

#: Distances that are in memory at a time, 64 MiB of them.
_BLOCK = 2**23
#: Squares of squares of features up to here stay finite, sums over dimensions included.
_LARGEST = 1e60


@dataclasses.dataclass(frozen=True)
class NeighbourhoodMetrics:
    """Overlap of two sets, told by balls that reach from an example to its k-th neighbour of the same set.

    Attributes:
      precision: fraction of the artificial examples that are in the ball of some real one.
      recall: fraction of the real examples that are in the ball of some artificial one.
      density: real balls that an artificial example is in, on average, over k; it can exceed 1.
      coverage: fraction of the real balls that have an artificial example inside.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real: np.ndarray, artificial: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets, the FID if the features are Inception's.

    Mean and unbiased covariance go into `gaussian_frechet_distance` (Heusel et al. 2017, arXiv 1706.08500,
    equation 6). The estimate is biased upwards: compare only values of equally many examples.

    Args:
      real: [real examples, dimensions], at least 2 examples.
      artificial: [artificial examples, dimensions], at least 2 examples.

    Raises:
      ValueError: not such arrays of finite numbers.
    """
    ours, theirs = (
        (features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))
        for features in _pair(real, artificial, at_least=2)
    )
    return gaussian_frechet_distance(*ours, *theirs)


def gaussian_frechet_distance(
    mean: np.ndarray,
    covariance: np.ndarray,
    other_mean: np.ndarray,
    other_covariance: np.ndarray,
) -> float:
    """`|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))`, the squared 2-Wasserstein distance of two Gaussians.

    With `S1 = F1 F1'` and `S2 = F2 F2'` the eigenvalues of `S1 S2` above zero are the squared singular values
    of `F1' F2`, so the trace of the root is the sum of these: real, for singular covariances too.

    Source: Dowson and Landau 1982; Heusel et al. 2017 (arXiv 1706.08500), equation 6.

    Args:
      mean: [dimensions].
      covariance: [dimensions, dimensions], symmetric and positive semi-definite.
      other_mean: [dimensions].
      other_covariance: [dimensions, dimensions], symmetric and positive semi-definite.

    Raises:
      ValueError: not such arrays of finite numbers.
    """
    mean = _array("mean", mean, "[dimensions]", _LARGEST)
    size = mean.shape[0]
    other_mean = _array("other_mean", other_mean, "[dimensions]", _LARGEST)
    if other_mean.shape[0] != size:
        raise ValueError(f"other_mean must be [{size}] as mean is, got [{len(other_mean)}]")
    factor = _factor("covariance", covariance, size)
    other_factor = _factor("other_covariance", other_covariance, size)
    shift = float(np.sum((mean - other_mean) ** 2))
    spread = float(np.sum(factor**2) + np.sum(other_factor**2))
    root = float(np.linalg.norm(factor.T @ other_factor, "nuc"))
    return max(0.0, shift + spread - 2 * root)


def neighbourhood_metrics(
    real: np.ndarray, artificial: np.ndarray, k: int = NEIGHBOURS
) -> NeighbourhoodMetrics:
    """Precision, recall, density and coverage, as the package `prdc` of the last two's authors counts them.

    A ball's radius is the distance to the k-th neighbour, the example itself left out, and its surface is
    outside. Distances that differ by no more than their rounding count as equal; `prdc` leaves these to chance.

    Source: Kynkaanniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2; Naeem et al. 2020 (arXiv
    2002.09797), section 3.

    Args:
      real: [real examples, dimensions], more than k examples.
      artificial: [artificial examples, dimensions], more than k examples.
      k: which neighbour a ball reaches to.

    Raises:
      ValueError: not such arrays of finite numbers, or k is not a positive whole number.
    """
    _validate.positive_int("k", k)
    real, artificial = _pair(real, artificial, at_least=k + 1)
    real, artificial = real - real.mean(axis=0), artificial - real.mean(axis=0)
    real_balls, artificial_balls = _squared_radii(real, k), _squared_radii(artificial, k)
    balls_around = np.zeros(len(artificial), np.int64)
    recalled = covered = 0
    for rows, squared in _blocks(real, artificial):
        inside = squared < real_balls[rows, None]
        balls_around += inside.sum(axis=0)
        covered += inside.any(axis=1).sum()
        recalled += (squared < artificial_balls).any(axis=1).sum()
    return NeighbourhoodMetrics(
        precision=float(np.mean(balls_around > 0)),
        recall=float(recalled / len(real)),
        density=float(np.mean(balls_around) / k),
        coverage=float(covered / len(real)),
    )


def class_coverage(
    real: np.ndarray,
    real_labels: np.ndarray,
    artificial: np.ndarray,
    artificial_labels: np.ndarray,
    num_classes: int,
    k: int = NEIGHBOURS,
) -> np.ndarray:
    """Coverage of `neighbourhood_metrics` among the examples of each class.

    Arguments are those of `class_diversity` and k.

    Returns:
      [num_classes]; NaN for a class of at most k real examples, or of no artificial one.

    Raises:
      ValueError: not such arrays of finite numbers, or k or num_classes is not a positive whole number.
    """
    _validate.positive_int("k", k)
    pairs = _by_class(real, real_labels, artificial, artificial_labels, num_classes)
    return np.array([_coverage(ours, theirs, k) for ours, theirs in pairs])


def class_diversity(
    real: np.ndarray,
    real_labels: np.ndarray,
    artificial: np.ndarray,
    artificial_labels: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """How varied the artificial examples of each class are.

    The mean Euclidean distance of two different artificial examples over that of two real ones: 1 is as varied
    as real ones, 0 is one image over and over. It is the mean of all pairs, not an estimate from some.

    Args:
      real: [real examples, dimensions].
      real_labels: whole numbers [real examples], below `num_classes`.
      artificial: [artificial examples, dimensions].
      artificial_labels: whole numbers [artificial examples], below `num_classes`.
      num_classes: how many classes there are.

    Returns:
      [num_classes]; NaN for a class of fewer than two real or artificial examples, or of real examples that
      are all the same.

    Raises:
      ValueError: not such arrays of finite numbers, or num_classes is not a positive whole number.
    """
    pairs = _by_class(real, real_labels, artificial, artificial_labels, num_classes)
    distances = np.array([[_mean_distance(ours), _mean_distance(theirs)] for ours, theirs in pairs])
    return distances[:, 1] / np.where(distances[:, 0] > 0, distances[:, 0], np.nan)


def _factor(name: str, covariance: np.ndarray, size: int) -> np.ndarray:
    """F, [dimensions, rank], with `F F'` the covariance."""
    covariance = _array(name, covariance, "[dimensions, dimensions]", 4 * _LARGEST**2)
    if covariance.shape != (size, size):
        raise ValueError(f"{name} must have the shape {(size, size)}, got {covariance.shape}")
    asymmetry = float(np.max(np.abs(covariance - covariance.T)))
    if asymmetry > 1e-6 * np.max(np.abs(covariance)):
        raise ValueError(f"{name} must be symmetric, got a difference of {asymmetry:g}")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    largest = float(np.max(np.abs(values)))
    if values[0] < -1e-6 * largest:
        raise ValueError(f"{name} must be positive semi-definite, got eigenvalue {values[0]:g}")
    # Eigenvalues of the null space are rounding, and their roots are not small.
    kept = values > size * np.finfo(np.float64).eps * largest
    return vectors[:, kept] * np.sqrt(values[kept])


def _blocks(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances [some points, all others] and the place of these points; BLAS uses all cores.

    Their rounding grows with the lengths of the vectors, so callers move the origin among the points.
    """
    step = max(1, _BLOCK // len(others))
    lengths = np.einsum("ij,ij->i", others, others)
    for start in range(0, len(points), step):
        rows = slice(start, min(start + step, len(points)))
        squared = (-2 * points[rows]) @ others.T
        squared += np.einsum("ij,ij->i", points[rows], points[rows])[:, None]
        squared += lengths
        yield rows, np.maximum(squared, 0, out=squared)


def _squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th neighbour less its rounding, so that ties are outside, [points]."""
    radii = np.empty(len(points))
    for rows, squared in _blocks(points, points):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        squared.partition(k - 1, axis=1)
        radii[rows] = squared[:, k - 1]
    rounding = 8 * points.shape[1] * np.finfo(np.float64).eps
    return radii - rounding * (np.einsum("ij,ij->i", points, points) + radii)


def _coverage(real: np.ndarray, artificial: np.ndarray, k: int) -> float:
    if len(real) <= k or not len(artificial):
        return np.nan
    real, artificial = real - real.mean(axis=0), artificial - real.mean(axis=0)
    balls = _squared_radii(real, k)
    blocks = _blocks(real, artificial)
    return float(sum((near.min(axis=1) < balls[rows]).sum() for rows, near in blocks) / len(real))


def _mean_distance(points: np.ndarray) -> float:
    if len(points) < 2:
        return np.nan
    # From the first point, not the mean: points that are all the same are then exactly zero.
    points = points - points[0]
    total = 0.0
    for rows, squared in _blocks(points, points):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = 0
        total += np.sqrt(squared, out=squared).sum()
    return float(total / (len(points) * (len(points) - 1)))


def _by_class(
    real: np.ndarray,
    real_labels: np.ndarray,
    artificial: np.ndarray,
    artificial_labels: np.ndarray,
    num_classes: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    real, artificial = _pair(real, artificial)
    _validate.positive_int("num_classes", num_classes)
    of_real = _labels("real_labels", real_labels, len(real), num_classes)
    of_artificial = _labels("artificial_labels", artificial_labels, len(artificial), num_classes)
    for label in range(num_classes):
        yield real[of_real == label], artificial[of_artificial == label]


def _pair(
    real: np.ndarray, artificial: np.ndarray, at_least: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    real = _array("real", real, "[examples, dimensions]", _LARGEST)
    artificial = _array("artificial", artificial, "[examples, dimensions]", _LARGEST)
    width, got = real.shape[1], artificial.shape[1]
    if got != width:
        raise ValueError(f"artificial must have the {width} dimensions of real, got {got}")
    for name, array in [("real", real), ("artificial", artificial)]:
        if len(array) < at_least:
            raise ValueError(f"{name} must be at least {at_least} examples, got {len(array)}")
    return real, artificial


def _array(name: str, values: np.ndarray, shape: str, largest: float) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != shape.count(",") + 1 or not array.shape[-1]:
        raise ValueError(f"{name} must be numbers {shape}, got {array.dtype} {array.shape}")
    array = array.astype(np.float64, copy=False)
    wrong = array[~(np.abs(array) <= largest)]
    if wrong.size:
        raise ValueError(f"{name} must be finite and at most {largest:g} in size, got {wrong[0]:g}")
    return array


def _labels(name: str, labels: np.ndarray, count: int, num_classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(f"{name} must be {count} whole numbers, got {labels.dtype} {labels.shape}")
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise ValueError(f"{name} must be from 0 to {num_classes - 1}, got {wrong[0]}")
    return labels
