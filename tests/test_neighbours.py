# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours: equal, to the bit and the index, to the sort of all distances by differences."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from tfartgen import neighbours

ROWS = 300


def normal(seed, rows=ROWS, dimensions=8):
    return np.random.RandomState(seed).randn(rows, dimensions)


def sorted_differences(points, others, k, same=False):
    """The definition: every distance, sorted by distance and then by index."""
    # Rows of columns that are apart in memory are summed in another order.
    points, others = (np.array(rows, np.float64, order="C") for rows in (points, others))
    distances, indices = [], []
    for row, point in enumerate(points):
        of_row = np.sqrt(((others - point) ** 2).sum(axis=1))
        order = [
            index for index in np.argsort(of_row, kind="stable") if not (same and index == row)
        ]
        indices.append(order[:k])
        distances.append(of_row[order[:k]])
    return np.array(distances), np.array(indices)


def assert_exact(points, others, k, same=False):
    found = neighbours.nearest(points, others, k, same=same)
    distances, indices = sorted_differences(points, others, k, same)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.distances, distances)
    assert (found.distances.dtype, found.indices.dtype) == (np.float64, np.int64)


def triplets(scale):
    """Every row three times, a hair apart."""
    rows = normal(0, ROWS // 3)
    return np.concatenate([rows, rows + scale * normal(1, ROWS // 3), rows - scale])


def clusters(distance, scale):
    """Two clusters so far from each other that inner products cannot tell the members of either apart."""
    sides = np.where(np.arange(ROWS)[:, None] % 2, distance, -distance)
    return sides + scale * normal(2)


def outliers():
    rows = normal(3)
    rows[::50] *= 1e12
    return rows


def integers(below, dimensions):
    return np.random.RandomState(4).randint(0, below, [ROWS, dimensions])


HARD = {
    "normal": normal(5),
    "one dimension": normal(6, dimensions=1),
    "near-duplicates": triplets(1e-9),
    "near-duplicates, common offset": triplets(1e-9) + 1e6,
    "common offset": normal(7) + 1e8,
    "crowds": np.tile(normal(20, 6), [ROWS // 6, 1]) + 1e-9 * normal(21) + 1e3,
    "clusters": clusters(1e6, 1e-3),
    "clusters farther": clusters(1e9, 1e-6),
    "outliers": outliers(),
    "few integers": integers(3, 3),
    "many integers": integers(17, 64).astype(np.uint8),
    "duplicates": np.repeat(normal(8, ROWS // 20), 20, axis=0),
    "constant": np.full([ROWS, 2], 0.1),
    "squares underflow": normal(9) * 1e-160,
    "huge": normal(10) * 1e58,
    "float32, by columns": np.asfortranarray(normal(11).astype(np.float32)),
}


@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("name", HARD)
def test_equal_to_the_sort_of_all_distances(name, k):
    assert_exact(HARD[name], HARD[name], k, same=True)
    assert_exact(HARD[name][::7], HARD[name][1::2], k)


def test_counted_by_hand():
    points, others = [[0, 0], [3, 0]], [[3, 4], [0, 0], [0, 1], [0, -1]]
    found = neighbours.nearest(points, others, 3)
    assert found.indices.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert found.distances.tolist() == [[0, 1, 1], [3, math.sqrt(10), math.sqrt(10)]]


def test_distances_against_an_accurate_sum():
    points, others = normal(12, dimensions=100) + 1e5, normal(13, dimensions=100) + 1e5
    found = neighbours.nearest(points, others, 5)
    for row in range(0, ROWS, 29):
        expected = [math.dist(points[row], others[index]) for index in found.indices[row]]
        np.testing.assert_allclose(found.distances[row], expected, rtol=1e-14)


def test_a_row_is_no_neighbour_of_itself_and_its_duplicates_are():
    rows = [[0.0], [5.0], [0.0], [5.0], [0.0]]
    found = neighbours.nearest(rows, rows, 3, same=True)
    assert found.indices.tolist() == [[2, 4, 1], [3, 0, 2], [0, 4, 1], [1, 0, 2], [0, 2, 1]]
    assert found.distances.tolist() == [[0, 0, 5], [0, 5, 5], [0, 0, 5], [0, 5, 5], [0, 0, 5]]
    assert neighbours.nearest(rows, rows, 1).indices[:, 0].tolist() == [0, 1, 0, 1, 0]


def test_all_rows_may_be_asked_for():
    rows = normal(14, 20)
    assert_exact(rows, rows, 20)
    assert_exact(rows, rows, 19, same=True)


def test_points_may_be_none():
    found = neighbours.nearest(np.empty([0, 8]), normal(15), 4)
    assert found.distances.shape == found.indices.shape == (0, 4)


@pytest.mark.parametrize("name", HARD)
def test_blocks_do_not_show(name, monkeypatch):
    rows = HARD[name]
    before = neighbours.nearest(rows, rows, 7, same=True)
    for constant, value in [("_PAIRS", 1000), ("_DIFFERENCES", 70), ("_MARGIN", 1), ("_SAMPLE", 3)]:
        monkeypatch.setattr(neighbours, constant, value)
    after = neighbours.nearest(rows, rows, 7, same=True)
    np.testing.assert_array_equal(after.indices, before.indices)
    np.testing.assert_array_equal(after.distances, before.distances)


@pytest.mark.parametrize("name, rows", [("normal", 0), ("outliers", 0), ("clusters", ROWS)])
def test_rows_are_searched_in_full_where_rounding_hides_the_order(name, rows, monkeypatch):
    searched, search = [], neighbours._search

    def count(points, others, own, rows, *rest):
        searched.extend(rows)
        search(points, others, own, rows, *rest)

    monkeypatch.setattr(neighbours, "_search", count)
    assert_exact(HARD[name], HARD[name], 7, same=True)
    assert len(searched) == rows


def test_without_the_full_search_these_cases_fail(monkeypatch):
    """Otherwise they show nothing."""
    monkeypatch.setattr(neighbours, "_search", lambda *args: None)
    for name in ["clusters", "crowds", "few integers"]:
        with pytest.raises(AssertionError, match="not equal"):
            assert_exact(HARD[name], HARD[name], 40, same=True)


@pytest.mark.parametrize(
    "points, others, k",
    [
        (normal(16, 6000, 2), normal(17, 6000, 2), 3),  # all distances are 275 MiB
        (normal(18, 1500, 2), normal(19, 1600, 2), 1500),  # the result is 34 MiB
        (np.zeros([1000, 2]), np.zeros([20_000, 2]), 3),  # all distances are 153 MiB
    ],
    ids=["long", "large k", "searched in full"],
)
def test_memory_is_bounded(points, others, k):
    tracemalloc.start()
    try:
        found = neighbours.nearest(points, others, k)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - found.distances.nbytes - found.indices.nbytes < 80 * 2**20


@pytest.mark.parametrize("k", [0, -1, 1.5, True, float("nan"), "3", None])
def test_k_must_be_a_positive_whole_number(k):
    with pytest.raises(ValueError, match=f"^k must be a positive whole number, got {k!r}$"):
        neighbours.nearest(normal(0), normal(1), k)


@pytest.mark.parametrize(
    "values, got",
    [
        (np.zeros(3), r"float64 \(3,\)"),
        (np.zeros([3, 2, 2]), r"float64 \(3, 2, 2\)"),
        (np.zeros([3, 0]), r"float64 \(3, 0\)"),
        (np.zeros([3, 2], bool), r"bool \(3, 2\)"),
        (np.zeros([3, 2], complex), r"complex128 \(3, 2\)"),
        ([["a"]], r"<U1 \(1, 1\)"),
    ],
)
def test_arrays_must_be_matrices_of_numbers(values, got):
    for name in ["points", "others"]:
        arguments = {"points": np.zeros([3, 2]), "others": np.zeros([3, 2]), name: values}
        message = rf"^{name} must be numbers \[{name}, dimensions\], got {got}: one row for each$"
        with pytest.raises(ValueError, match=message):
            neighbours.nearest(k=1, **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e61])
def test_numbers_must_be_finite(value):
    for name in ["points", "others"]:
        arguments = {"points": np.zeros([3, 2]), "others": np.zeros([3, 2])}
        arguments[name][1, 1] = value
        message = rf"^{name} must be finite and at most 1e\+60 in size, got {value:g} in row 1: "
        with pytest.raises(ValueError, match=message.replace("got 1e+", r"got 1e\+")):
            neighbours.nearest(k=1, **arguments)


def test_widths_must_agree():
    message = "^others must have the 8 dimensions of points, got 9: compute both in one space$"
    with pytest.raises(ValueError, match=message):
        neighbours.nearest(normal(0), normal(1, dimensions=9), 1)


def test_rows_must_be_enough():
    rows = normal(0, 5)
    with pytest.raises(ValueError, match="^k must be at most 5, the rows of others, got 6: lower"):
        neighbours.nearest(normal(1), rows, 6)
    message = "^k must be at most 4, the rows of others, a point itself left out, got 5: lower k or"
    with pytest.raises(ValueError, match=message):
        neighbours.nearest(rows, rows, 5, same=True)
    with pytest.raises(ValueError, match="^k must be at most 0, the rows of others, got 1: lower"):
        neighbours.nearest(rows, np.empty([0, 8]), 1)
    with pytest.raises(
        ValueError, match="^k must be at most 0, the rows of others, a point itself"
    ):
        neighbours.nearest(np.empty([0, 8]), np.empty([0, 8]), 1, same=True)


def test_same_must_be_the_same():
    neighbours.nearest(normal(0), normal(0), 1, same=True)  # a copy will do
    for others in [normal(1), normal(0)[1:]]:
        with pytest.raises(ValueError, match="^points must be others itself where same=True, got"):
            neighbours.nearest(normal(0), others, 1, same=True)
