# SPDX-License-Identifier: Apache-2.0
"""The k nearest neighbours of every point: exact, in blocks, on all cores.

Inner products give squared distances fast and, for points that are close to each other but far from the origin,
wrong: `|x|^2 - 2 x y + |y|^2` cancels. So they only propose neighbours. Distances are those of the differences
in float64, and a row whose proposals might miss a neighbour, by a bound on the rounding, is searched in full.
The result is thus a function of the data: no block size, number of cores or machines shows in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tfartgen import _validate

#: Proposals beyond k and the point itself. If all tie with the k-th, the row is searched in full.
_MARGIN = 8
#: Proposals, or estimates of a full search, that are in memory at a time.
_PAIRS = 2**20
#: Coordinates whose differences are taken at a time: they stay in a core's cache.
_DIFFERENCES = 2**17
#: Rows whose median is the origin.
_SAMPLE = 1000
#: Squares of coordinates up to here stay finite, sums over dimensions included.
_LARGEST = 1e60
#: More than the squares that underflow in a sum add up to.
_UNDERFLOW = float(np.finfo(np.float64).tiny)


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The nearest rows of one array for every row of another.

    Attributes:
      distances: float64 [points, k], Euclidean, ascending.
      indices: int64 [points, k], rows of `others`; of those at the same distance the lower comes first.
    """

    distances: np.ndarray
    indices: np.ndarray


def nearest(points: np.ndarray, others: np.ndarray, k: int, *, same: bool = False) -> Neighbours:
    """The k rows of `others` that are nearest to each row of `points`.

    Equal to the sort, by distance and then by index, of all distances `sqrt(sum((x - y)^2))` in float64: ties
    at the k-th place go to the lower index too, whatever their number. Memory is the arrays, their copies in
    float64, the result, and blocks of a fixed size. Time is that of the inner products, and
    up to that of all differences, on one core, where rounding hides the order: in rows with 8 ties or more at the
    k-th place, or whose neighbours are nearer than about 1e-6 of their distance from the median row.

    Args:
      points: [points, dimensions], finite.
      others: [others, dimensions], finite.
      k: how many neighbours.
      same: `points` is `others`, and a row is no neighbour of itself; its duplicates are, at distance zero.

    Raises:
      ValueError: not such arrays of finite numbers, or fewer than k rows to choose from.
    """
    points, others = checked(points, others, k, same)
    return nearest_of_block(points, others, k, np.arange(len(points)) if same else None)


def nearest_of_block(
    points: np.ndarray, others: np.ndarray, k: int, own: np.ndarray | None = None
) -> Neighbours:
    """As `nearest`, of arrays that are checked, and where `others` may be a block of too few rows.

    Args:
      points: float64 [points, dimensions].
      others: float64 [others, dimensions].
      k: how many neighbours; of fewer rows, all.
      own: int64 [points], the row of `others` that is the point itself, any other number where none is. Its
        distance is infinite, so that it comes last.
    """
    k, wanted = min(k, len(others)), min(k + 1 + _MARGIN, len(others))
    own = np.full(len(points), -1) if own is None else own
    origin = np.median(others[:: 1 + len(others) // _SAMPLE], axis=0)
    moved = others - origin
    search = NearestNeighbors(n_neighbors=wanted, algorithm="brute", metric="sqeuclidean")
    search.fit(moved)
    result = Neighbours(np.empty([len(points), k]), np.empty([len(points), k], np.int64))
    step = max(1, _PAIRS // wanted)
    for start in range(0, len(points), step):
        rows = slice(start, start + step)
        some = points[rows] - origin
        estimates, found = search.kneighbors(some)
        distances = _distances(points[rows], others, found)
        distances[found == own[rows, None]] = np.inf
        near = first(Neighbours(distances, found), k)
        result.distances[rows], result.indices[rows] = near.distances, near.indices
        if wanted < len(others):
            open_rows = ~_settled(some, near.distances[:, -1], estimates[:, -1])
            _search(points, others, own, start + np.flatnonzero(open_rows), origin, moved, result)
    return result


def first(neighbours: Neighbours, k: int) -> Neighbours:
    """The first k by distance, then by index."""
    distances, indices = neighbours.distances, neighbours.indices
    order = np.lexsort((indices, distances), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)
    )


def merged(parts: Iterable[Neighbours], k: int) -> Neighbours:
    """The first k among the neighbours of the same points in several blocks; their indices are global."""
    parts = list(parts)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    indices = np.concatenate([part.indices for part in parts], axis=1)
    return first(Neighbours(distances, indices), k)


def checked(
    points: np.ndarray, others: np.ndarray, k: int, same: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays in float64; arguments and errors are those of `nearest`."""
    _validate.positive_int("k", k)
    points, others = matching(points, others)
    if same and not np.array_equal(points, others):
        raise ValueError(
            "points must be others itself where same=True, got two different arrays: leave same out"
        )
    require_rows(k, max(0, len(others) - same), same)
    return points, others


def require_rows(k: int, most: int, same: bool) -> None:
    """A point has at least k rows to choose from, of `most`.

    Raises:
      ValueError: it has fewer.
    """
    if not k <= most:
        rows = "rows of others, a point itself left out" if same else "rows of others"
        raise ValueError(f"k must be at most {most}, the {rows}, got {k}: lower k or add rows")


def matching(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two matrices of finite numbers and equally many columns, as contiguous float64.

    Raises:
      ValueError: they are not.
    """
    alias = points is others
    points = _numbers("points", points)
    others = points if alias else _numbers("others", others)
    width, got = points.shape[1], others.shape[1]
    if got != width:
        raise ValueError(
            f"others must have the {width} dimensions of points, got {got}: compute both in one space"
        )
    return points, others


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or not array.shape[1]:
        got = f"{array.dtype} {array.shape}"
        raise ValueError(
            f"{name} must be numbers [{name}, dimensions], got {got}: one row for each"
        )
    array = np.ascontiguousarray(array, np.float64)
    wrong = np.argwhere(~(np.abs(array) <= _LARGEST))
    if wrong.size:
        row, column = wrong[0]
        raise ValueError(
            f"{name} must be finite and at most {_LARGEST:g} in size, got {array[row, column]:g} in row"
            f" {row}: correct it or leave that row out"
        )
    return array


def _distances(points: np.ndarray, others: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances of the points to the rows of `others` found for each, [points, found].

    Every sum is over one contiguous row, so it is rounded in the same way wherever the pair is met.
    """
    squared = np.empty(found.size)
    rows = np.repeat(np.arange(len(points)), found.shape[1])
    columns = found.ravel()
    step = max(1, _DIFFERENCES // points.shape[1])
    for start in range(0, found.size, step):
        part = slice(start, start + step)
        differences = others[columns[part]]
        differences -= points[rows[part]]
        differences *= differences
        np.sum(differences, axis=1, out=squared[part])
    return np.sqrt(squared, out=squared).reshape(found.shape)


def _rounding(dimensions: int) -> float:
    """C with `|estimate - |x - y|^2| <= C (|x|^2 + |y|^2)`, whatever the order of the inner product's sum.

    With d dimensions and unit roundoff u, a sum of products is off by at most `d u` times the sum of their
    absolute values (Higham 2002, equation 3.5), and moving the origin by `u` times each length. Together that is
    at most `(2 d + 8) u` to first order. C is over twice that, to cover the distances' own rounding as well.
    """
    return 2 * (dimensions + 8) * float(np.finfo(np.float64).eps)


def _settled(points: np.ndarray, radii: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether every row that was not proposed must be farther than the k-th neighbour, [points].

    The estimate of such a row y is at least `last`. As `|y| <= |x| + |x - y|`, its squared distance s is bounded
    by `last - C (3 |x|^2 + 2 s) <= s` with C of `_rounding`, and one outlier far away does not open all rows.
    """
    rounding = _rounding(points.shape[1])
    lengths = np.einsum("ij,ij->i", points, points)
    unseen = (last - 3 * rounding * lengths - _UNDERFLOW) / (1 + 2 * rounding)
    return radii**2 * (1 + rounding) < unseen


def _search(
    points: np.ndarray,
    others: np.ndarray,
    own: np.ndarray,
    rows: np.ndarray,
    origin: np.ndarray,
    moved: np.ndarray,
    result: Neighbours,
) -> None:
    """Searches all others for the neighbours of these rows, and writes them into the result.

    It has k neighbours already, if not the nearest. Whatever is no farther than the last of them, at the
    squared distance s, has an estimate of at most `s + C (3 |x|^2 + 2 s)`, as in `_settled`.
    """
    k, rounding = result.distances.shape[1], _rounding(points.shape[1])
    lengths = np.einsum("ij,ij->i", moved, moved)
    step = max(1, _PAIRS // len(others))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        shifted = points[some] - origin
        own_lengths = np.einsum("ij,ij->i", shifted, shifted)
        estimates = (-2 * shifted) @ moved.T + own_lengths[:, None] + lengths
        limits = result.distances[some, -1] ** 2 * (1 + 4 * rounding) + 3 * rounding * own_lengths
        within = estimates <= limits[:, None] + _UNDERFLOW
        for row, candidates in zip(some, within):
            found = np.flatnonzero(candidates)
            found = found[found != own[row]]
            distances = _distances(points[row : row + 1], others, found[None])[0]
            order = np.argsort(distances, kind="stable")[:k]
            result.distances[row], result.indices[row] = distances[order], found[order]
