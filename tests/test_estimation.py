# SPDX-License-Identifier: Apache-2.0
"""The k-NN KL estimate and the imitated loss, against references that sort and remove by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import mechanisms
from scipy import special
from scipy.spatial.distance import cdist

from tfartgen import estimation


def normal(seed, rows, dimensions, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, [rows, dimensions])


def direct_kl(first, second, k):
    """The formula, example by example."""
    (count, dimensions), total = first.shape, 0.0
    for i in range(count):
        others = np.delete(first, i, axis=0)
        rho = np.sort(np.sqrt(((others - first[i]) ** 2).sum(axis=1)))[k - 1]
        nu = np.sort(np.sqrt(((second - first[i]) ** 2).sum(axis=1)))[k - 1]
        total += np.log(nu / rho)
    return dimensions * total / count + np.log(len(second) / (count - 1))


def direct_imitation(first, second, records, k, group_size):
    """Losses, owned examples and saturation: what is owned is really removed, one record after the other."""
    unique, dimensions = np.unique(records, axis=0), first.shape[1]
    owners = [cdist(each, unique).argmin(axis=1) for each in (first, second)]
    before = np.sort(cdist(first, second), axis=1)
    scales = [scale for scale in (1, 5, 20) if scale <= len(second)]
    growth = np.diff(np.log(before[:, np.array(scales) - 1]), axis=1).mean(axis=0)
    apparent = min(dimensions, (np.diff(special.digamma(scales)) / growth).max())
    losses, owned, saturated = [], [], []
    for record in records:
        group = np.argsort(cdist(record[None], unique)[0], kind="stable")[:group_size]
        own, gone = (np.isin(each, group) for each in owners)
        after = np.sort(cdist(first, second[~gone]), axis=1)
        gains = np.log(after[:, [0, k - 1]] / before[:, [0, k - 1]])
        losses.append(dimensions * gains[:, 1].mean() + np.log((~gone).mean()))
        owned.append(own.sum() + gone.sum())
        nearest, kth = apparent * gains[own].mean(axis=0) if own.any() else (0, 0)
        saturated.append(nearest > 5 or kth > 2)
    return np.array(losses), np.array(owned), np.array(saturated)


def hub(far=25):
    """Examples of which one record in the middle owns nearly all, and records far away a handful."""
    rng = np.random.default_rng(0)
    records = np.concatenate([np.zeros([1, 3]), 4 * rng.standard_normal([far, 3])])
    draw = np.concatenate([rng.normal(0, 0.5, [120, 3]), 4 * rng.standard_normal([30, 3])])
    order = rng.permutation(len(draw))
    return draw[order[:70]], draw[order[70:]], records


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dimensions", [1, 3, 8])
def test_kl_is_the_formula(dimensions, k):
    first, second = normal(0, 60, dimensions), normal(1, 85, dimensions, 1.5)
    expected = direct_kl(first, second, k)
    assert estimation.kl_divergence(first, second, k) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_kl_is_near_the_closed_form(dimensions):
    first, second = normal(2, 4000, dimensions), normal(3, 4000, dimensions, 2.0)
    second[:, 0] += 0.5
    ratio = 1 / 4
    of_scales = dimensions * (ratio - 1 - np.log(ratio)) / 2
    assert estimation.kl_divergence(first, second) == pytest.approx(
        of_scales + 0.5**2 / 4 / 2, abs=0.06
    )
    assert abs(estimation.kl_divergence(first, normal(4, 4000, dimensions))) < 0.05


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_zero_distances_leave_kl_finite_and_the_unit_out_of_it(scale):
    repeated = np.repeat(normal(5, 10, 2), 10, axis=0)
    mixed = np.concatenate([repeated, normal(6, 20, 2)])
    constant = np.ones([40, 2])
    for first, second in [
        (repeated, repeated),
        (repeated, normal(7, 50, 2)),
        (normal(7, 50, 2), repeated),
        (mixed, mixed[::-1]),
        (constant, constant),
        (constant, 2 * constant),
        (constant, normal(8, 30, 2)),
    ]:
        value = estimation.kl_divergence(first, second)
        assert np.isfinite(value)
        assert estimation.kl_divergence(scale * first, scale * second) == pytest.approx(value)


@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("case", ["spread", "memorised", "hub"])
def test_the_loss_is_what_removing_examples_changes(case, k, group_size):
    if case == "hub":
        first, second, records = hub()
    else:
        records = normal(9, 25, 3)
        scale = 0.3 if case == "spread" else 0.02
        draws = np.random.default_rng(10).permutation(np.tile(records, [8, 1]))
        draws = draws + normal(11, 200, 3, scale)
        first, second = draws[:90], draws[90:]
    got = estimation.imitate(first, second, records, k, group_size)
    losses, owned, saturated = direct_imitation(first, second, records, k, group_size)
    np.testing.assert_allclose(got.losses, losses, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(got.owned, owned)
    np.testing.assert_array_equal(got.saturated, saturated)
    if case == "memorised":
        assert saturated.any()


@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("pairs", [1, 40, 2**22])
def test_short_lists_and_small_blocks_change_no_loss(monkeypatch, pairs, k, group_size):
    monkeypatch.setattr(estimation, "_LISTED", 1)
    monkeypatch.setattr(estimation, "_MOST_LISTED", 2)
    monkeypatch.setattr(estimation, "_PAIRS", pairs)
    first, second, records = hub()
    got = estimation.imitate(first, second, records, k, group_size)
    losses, owned, _ = direct_imitation(first, second, records, k, group_size)
    np.testing.assert_allclose(got.losses, losses, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(got.owned, owned)


@pytest.mark.parametrize("listed", [1, 59])
def test_a_record_that_owns_everything_is_saturated(monkeypatch, listed):
    monkeypatch.setattr(estimation, "_LISTED", listed)
    monkeypatch.setattr(estimation, "_MOST_LISTED", listed)
    first, second = normal(12, 40, 2), normal(13, 40, 2)
    records = np.array([[0.0, 0], [100, 0], [0, 100]])
    got = estimation.imitate(first, second, records, 3)
    assert got.owned.tolist() == [80, 0, 0]
    assert got.saturated.tolist() == [True, False, False]
    assert np.isfinite(got.losses[0]) and got.losses[1:].tolist() == [0, 0]
    assert estimation.imitate(first, second, records[:1]).saturated.tolist() == [True]


def test_a_record_that_owns_nothing_loses_exactly_nothing():
    first, second, records = hub(far=60)
    got = estimation.imitate(first, second, records)
    assert 5 < (got.owned == 0).sum() < 60
    assert (got.losses[got.owned == 0] == 0).all()
    assert not got.saturated[got.owned == 0].any()
    assert (got.losses != 0).any()


@pytest.mark.parametrize("group_size", [1, 2])
def test_permuting_records_permutes_losses(group_size):
    first, second, records = hub()
    records = np.concatenate([records, records[:5]])
    order = np.random.default_rng(14).permutation(len(records))
    plain = estimation.imitate(first, second, records, group_size=group_size)
    moved = estimation.imitate(first, second, records[order], group_size=group_size)
    for name in ("losses", "owned", "saturated"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name)[order])


def test_equal_records_are_left_out_together():
    first, second, records = hub()
    alone = estimation.imitate(first, second, records)
    twice = estimation.imitate(first, second, np.concatenate([records, records[:4]]))
    np.testing.assert_array_equal(twice.losses, np.append(alone.losses, alone.losses[:4]))
    np.testing.assert_array_equal(twice.owned, np.append(alone.owned, alone.owned[:4]))
    assert alone.losses[0] > 0


@pytest.mark.parametrize(
    "first, second, records",
    [
        (np.repeat(normal(15, 8, 2), 10, axis=0),) * 2 + (normal(16, 20, 2),),
        (np.repeat(normal(15, 8, 2), 10, axis=0),) * 2 + (normal(15, 8, 2),),
        (np.ones([30, 2]), np.ones([30, 2]), np.ones([5, 2])),
        (np.ones([30, 2]), np.ones([30, 2]), normal(17, 5, 2)),
        (np.ones([30, 2]), np.zeros([30, 2]), np.array([[0.0, 0], [1, 1]])),
        (np.zeros([30, 2]), np.append(np.zeros([25, 2]), normal(18, 5, 2), 0), normal(19, 5, 2)),
        (normal(20, 30, 2), np.append(np.zeros([40, 2]), normal(18, 9, 2), 0), normal(19, 5, 2)),
    ],
    ids=["repeated", "copies", "constant", "constant, records", "two places", "mostly", "second"],
)
@pytest.mark.parametrize("k", [1, 5])
def test_zero_distances_are_finite_everywhere(first, second, records, k):
    got = estimation.imitate(first, second, records, k)
    assert np.isfinite(got.losses).all()
    measured = estimation.structure(first, second)
    assert np.isfinite([measured.dimensions, measured.clumping, measured.floor]).all()
    assert measured.floor > 0 and 1 <= measured.dimensions <= 2


@pytest.mark.parametrize("copies", [10, 100])
def test_exact_copies_saturate_and_do_not_look_smooth(copies):
    first = second = np.repeat(normal(15, 8, 2), copies, axis=0)
    got = estimation.imitate(first, second, normal(15, 8, 2))
    assert got.saturated.all() and got.losses.min() > 0.1


def test_a_memoriser_of_tiny_noise_is_saturated():
    rng = np.random.default_rng(21)
    records = rng.standard_normal([150, 8])
    mechanism = mechanisms.Parzen(records, 0.01, rng)
    halves = mechanism.draw(1500, rng), mechanism.draw(1500, rng)
    got = estimation.imitate(*halves, records)
    assert got.saturated.mean() > 0.9
    pooled = estimation.imitate(*halves, np.append(records, rng.standard_normal([150, 8]), 0))
    assert pooled.saturated[:150].mean() > 0.9 and pooled.saturated[150:].mean() < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_around_the_mean_is_not_saturated(seed):
    rng = np.random.default_rng(seed)
    records = rng.standard_normal([300, 8])
    mechanism = mechanisms.Average(records, 0.8, rng)
    got = estimation.imitate(mechanism.draw(1500, rng), mechanism.draw(1500, rng), records)
    # A record that owns a handful of outlying examples may be, by chance.
    assert got.saturated.sum() <= 1 and not got.saturated[got.owned > 5].any()
    assert (got.owned > 5).sum() > 50


@pytest.mark.parametrize("dimensions", [2, 8])
def test_structure_of_a_smooth_density(dimensions):
    measured = estimation.structure(normal(22, 2000, dimensions), normal(23, 2000, dimensions))
    assert 0.85 * dimensions < measured.dimensions <= dimensions
    assert 0.85 < measured.clumping < 1.15
    assert measured.floor < 1e-5


def test_structure_sees_a_plane_in_space():
    plane = normal(24, 3000, 2) @ normal(25, 2, 10)
    assert estimation.structure(plane[:1500], plane[1500:]).dimensions == pytest.approx(2, abs=0.2)


def test_structure_sees_that_examples_huddle():
    rng = np.random.default_rng(26)
    mechanism = mechanisms.Mixup(rng.standard_normal([150, 8]), 0.05, rng)
    measured = estimation.structure(mechanism.draw(2000, rng), mechanism.draw(2000, rng))
    assert measured.clumping > 1.1 * estimation.CLUMPED


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_must_be_a_positive_whole_number(k):
    some = normal(27, 20, 2)
    for call in (estimation.kl_divergence, lambda *a: estimation.imitate(a[0], a[1], some, a[2])):
        with pytest.raises(ValueError, match="k must be a positive whole number"):
            call(some, some, k)


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_examples_are_refused(count):
    some = normal(27, 20, 2)
    with pytest.raises(ValueError, match=f"k=5 needs at least 6 artificial examples.*got {count}"):
        estimation.imitate(some, some[:count], some)
    with pytest.raises(ValueError, match="k must be at most"):
        estimation.kl_divergence(some[:5], some)
    with pytest.raises(ValueError, match="k must be at most"):
        estimation.kl_divergence(some, some[:4])


def test_shapes_that_differ_are_refused():
    two, three = normal(27, 20, 2), normal(27, 20, 3)
    for arrays in [(two, two, three), (two, three, two), (three, two, two)]:
        with pytest.raises(ValueError, match="dimensions of points, got"):
            estimation.imitate(*arrays)
    for call in (estimation.kl_divergence, estimation.structure):
        with pytest.raises(ValueError, match="dimensions of points, got"):
            call(two, three)


def test_groups_larger_than_the_records_are_refused():
    some = normal(27, 20, 2)
    records = np.repeat(some[:4], 5, axis=0)
    with pytest.raises(ValueError, match="group_size must be at most 4.*got 5"):
        estimation.imitate(some, some, records, group_size=5)
    with pytest.raises(ValueError, match="group_size must be a positive whole number, got 0"):
        estimation.imitate(some, some, records, group_size=0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("which", range(3))
def test_numbers_must_be_finite(which, wrong):
    arrays = [normal(27 + i, 20, 2) for i in range(3)]
    arrays[which][3, 1] = wrong
    with pytest.raises(ValueError, match="must be finite.*row 3"):
        estimation.imitate(*arrays)
    if which < 2:
        with pytest.raises(ValueError, match="must be finite.*row 3"):
            estimation.kl_divergence(*arrays[:2])
