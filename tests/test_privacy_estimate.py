# SPDX-License-Identifier: Apache-2.0
"""The estimate of a release: covers the truth or says that it may not, and tells members from controls."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from benchmarks import mechanisms
from scipy import stats

from tfartgen import audit, chebyshev, estimation, privacy_estimate, privacy_estimate_study

RECORDS, EXAMPLES = 120, 1200
#: Of Mixup, whose truth takes time: enough examples that those of a pair meet.
PAIRED_RECORDS, PAIRED_EXAMPLES = 50, 2000
Config = privacy_estimate.PrivacyEstimateConfig
PLAIN = Config()


@functools.cache
def release(mechanism, scale, dimensions, seed=0):
    """Examples, members, controls and the true mean loss; of the mechanism None, the population itself."""
    rng = np.random.default_rng(seed)
    paired = mechanism == "Mixup"
    size, count = (PAIRED_RECORDS, PAIRED_EXAMPLES) if paired else (RECORDS, EXAMPLES)
    members, controls = rng.standard_normal([2, size, dimensions])
    if mechanism is None:
        others = rng.standard_normal([EXAMPLES, dimensions])
        return others + scale * rng.standard_normal(others.shape), members, controls, 0.0
    made = getattr(mechanisms, mechanism)(members, scale, rng)
    return made.draw(count, rng), members, controls, made.true_losses(rng).mean()


@functools.cache
def estimated(mechanism, scale, dimensions, config=PLAIN):
    artificial, members, controls, _ = release(mechanism, scale, dimensions)
    return privacy_estimate.estimate(artificial, members, controls, config)


MEMORISED = ("Parzen", 0.02, 8)
SOFT = ("Parzen", 0.3, 8)
POPULATION = (None, 0.1, 8)
CELLS = [
    MEMORISED,
    SOFT,
    POPULATION,
    ("Parzen", 0.1, 2),
    ("Parzen", 0.8, 2),
    ("Parzen", 0.8, 8),
    ("Average", 0.8, 8),
    ("Mixup", 0.05, 8),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]} {cell[1]} {cell[2]}")
def test_no_silent_understatement(cell):
    truth, told = release(*cell)[3], estimated(*cell).document
    flagged = told["mean_is_at_least"] or told["structure"]["is_clumped"]
    assert told["mean_loss_low"] <= truth
    assert truth <= told["mean_loss_high"] or flagged


@pytest.mark.parametrize("cell", [SOFT, POPULATION, ("Average", 0.8, 8)])
def test_what_is_smooth_is_not_flagged(cell):
    told = estimated(*cell).document
    assert not told["structure"]["is_clumped"]
    if cell != SOFT:
        assert not told["mean_is_at_least"]
        assert told["mean_loss_low"] == 0


def test_a_memoriser_loses_members_and_not_controls():
    told = estimated(*MEMORISED).document
    assert told["members_to_controls"] >= 10
    assert told["members_to_controls_interval"][0] >= 10
    assert told["mean_loss_low"] > 0 and told["saturated_share"] > 0.5
    assert told["controls"]["pooled_member_mean"] > 10 * told["controls"]["pooled_control_mean"]
    assert told["controls"]["count"] == RECORDS
    # The mixture knows better, and the copier shows that neighbours do not.
    assert told["imitation"] == "mixture"
    assert told["copier_check"]["known"] > 2 * told["copier_check"]["neighbours"]
    assert told["copier_check"]["mixture"] == pytest.approx(told["copier_check"]["known"], rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_a_population_sampler_treats_members_like_controls(seed):
    artificial, members, controls, _ = release(*POPULATION, seed)
    told = privacy_estimate.estimate(artificial, members, controls).document
    low, high = told["members_to_controls_interval"]
    assert low <= 1 <= high and high / low < 10


def test_the_mean_is_that_of_the_larger_imitation():
    result = estimated(*SOFT)
    told = result.document
    means = {name: each["mean"] for name, each in told["imitations"].items()}
    assert told["mean_loss"] == max(means.values()) == means[told["imitation"]]
    assert told["mean_loss"] == pytest.approx(result.losses.mean())
    seen = told["controls"]
    assert seen["excess"] == pytest.approx(
        result.pooled_members.mean() - result.pooled_controls.mean()
    )
    low = seen["excess"] - 3 * seen["excess_standard_error"]
    assert told["mean_loss_low"] == pytest.approx(max(0, low))


def test_bounds_are_those_of_chebyshev_and_a_release_is_its_examples():
    result = estimated(*POPULATION)
    losses, given = result.losses, result.document["mu"]
    assert [each["gamma"] for each in given] == list(Config().gammas)
    for each in given:
        if each["refused"]:
            assert each["bounds"] == {}
            continue
        bounds, gamma = each["bounds"], each["gamma"]
        for name, bound in bounds.items():
            assert bound["per_release"] == pytest.approx(EXAMPLES * bound["per_example"]), name
        left, others = each["gamma_left"], losses[~result.saturated]
        assert left == chebyshev.gamma_left(gamma, RECORDS, int(result.saturated.sum())) < gamma
        assert bounds["one_sided"]["per_example"] == chebyshev.one_sided(others, left)
        assert bounds["saw_yang_mo"]["per_example"] == chebyshev.saw_yang_mo(others, left)
        expected = others.mean() + others.std(ddof=1) / np.sqrt(left)
        assert bounds["chebyshev"]["per_example"] == pytest.approx(expected)
        assert bounds["cantelli"]["per_example"] < bounds["chebyshev"]["per_example"]
    assert not given[-1]["refused"]


def test_mu_is_refused_where_records_are_saturated():
    for each in estimated(*MEMORISED).document["mu"][1:]:
        assert "of the records are saturated, more than gamma" in each["refused"]
        assert each["bounds"] == {}


def test_mu_is_refused_where_records_support_no_such_gamma():
    config = Config(num_records=20, gammas=(0.01, 1 / 21, 0.3))
    first, second, third = estimated(*POPULATION, config).document["mu"]
    assert "20 records support no gamma below 0.0476; give more" in first["refused"]
    assert second["refused"] == (
        "0 of 20 records are saturated, and 20.6% may be (99%): that leaves 0 of gamma, and the other 20 support no less than "
        "0.0476; give more records or a larger gamma"
    )
    assert first["bounds"] == second["bounds"] == {}
    assert third["refused"] is None and third["bounds"]


def marked(count, saturated):
    """Which of so many records are saturated: the last."""
    return np.arange(count) >= count - saturated


def test_promise_20_mu_is_of_unsaturated_losses_at_what_saturated_records_leave_of_gamma():
    losses, saturated = np.random.RandomState(0).exponential(size=1000), marked(1000, 20)
    told = privacy_estimate._mu(losses, saturated, 0.1, 50)
    limit = chebyshev.saturated_limit(1000, 20)
    assert limit > 0.03
    assert (told["records"], told["saturated"], told["saturated_limit"]) == (1000, 20, limit)
    assert told["gamma_left"] == pytest.approx(0.1 - limit, rel=1e-12)
    others, left = losses[:980], told["gamma_left"]
    moments = others.mean(), others.std(ddof=1)
    values = {name: bound["per_example"] for name, bound in told["bounds"].items()}
    assert values == {
        "chebyshev": pytest.approx(chebyshev.chebyshev(*moments, left), rel=1e-12),
        "cantelli": pytest.approx(chebyshev.cantelli(*moments, left), rel=1e-12),
        "saw_yang_mo": chebyshev.saw_yang_mo(others, left),
        "one_sided": chebyshev.one_sided(others, left),
    }
    # What saturated records are reported to lose changes nothing.
    for reported in (-1.0, 0.0, 1e6):
        losses[980:] = reported
        assert privacy_estimate._mu(losses, saturated, 0.1, 50) == told


def test_promise_20_mu_is_refused_where_saturated_records_leave_too_little_of_gamma():
    losses = np.random.RandomState(0).exponential(size=200)
    told = privacy_estimate._mu(losses, marked(200, 3), 0.05, 50)
    assert told["refused"] == (
        "3 of 200 records are saturated, and 4.94% may be (99%): that leaves 0.000652 of gamma, and the other 197 support no "
        "less than 0.00505; give more records or a larger gamma"
    )
    assert told["bounds"] == {} and told["gamma_left"] > 0
    told = privacy_estimate._mu(losses, marked(200, 8), 0.05, 50)
    assert told["refused"].startswith("8 of 200 records") and told["gamma_left"] == 0
    told = privacy_estimate._mu(losses, marked(200, 11), 0.05, 50)
    assert told["refused"] == (
        "5.50% of the records are saturated, more than gamma: 11 of 200 have losses that are unbounded"
    )
    told = privacy_estimate._mu(losses, marked(200, 200), 0.999, 50)
    assert "100.00% of the records are saturated" in told["refused"]


def old_mu(losses, saturated, gamma, examples):
    """What was once done: all losses as reported, and all of gamma."""
    if saturated.mean() > gamma:
        return {"bounds": {}}
    bounds = {
        each: getattr(chebyshev, each)(losses, gamma) for each in ("saw_yang_mo", "one_sided")
    }
    return {"bounds": {name: {"per_example": value} for name, value in bounds.items()}}


def exceedance(mu, count, gamma, share, of_ones, bound):
    """Exact chances that a new record is above mu, for each number of saturated among N, with that number's own chance.

    A saturated record's loss is beyond any bound, and reported as 0; of the others it is 1 with probability `of_ones`, else 0.
    Where there is no mu, the chance is NaN.
    """
    numbers = np.arange(count + 1)
    drawn, above = stats.binom.pmf(numbers, count, share), np.full(count + 1, np.nan)
    for saturated in numbers[drawn > 1e-9]:
        ones = stats.binom.pmf(numbers, count - saturated, of_ones)
        total = 0.0
        for one in numbers[ones > 1e-7]:
            losses = np.where(np.arange(count) < one, 1.0, 0.0)
            bounds = mu(losses, marked(count, saturated), gamma, 1)["bounds"]
            if not bounds:
                total = np.nan
                break
            is_below = bounds[bound]["per_example"] < 1
            total += ones[one] * (share + (1 - share) * of_ones * is_below)
        above[saturated] = total
    return drawn, above


@pytest.mark.parametrize("gamma", [0.05, 0.2])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.04, 0.1])
def test_promise_20_mu_covers_a_new_record_where_some_are_saturated(share, gamma):
    count = 200
    limits = np.array([chebyshev.saturated_limit(count, seen) for seen in range(count + 1)])
    left = chebyshev.gamma_left(gamma, count, round(share * count))
    for of_ones in {0.85 * gamma, 0.85 * left or 0.01}:
        for bound in ("saw_yang_mo", "one_sided"):
            drawn, above = exceedance(privacy_estimate._mu, count, gamma, share, of_ones, bound)
            given = ~np.isnan(above)
            # Over all draws; given who is saturated; and how seldom that does not hold.
            assert drawn[given] @ above[given] <= gamma
            assert (above[given & (limits >= share)] <= gamma).all()
            assert drawn[given & (limits < share)].sum() <= 0.01
            if drawn[given].sum() > 0.01:
                assert drawn[given] @ above[given] / drawn[given].sum() <= gamma


@pytest.mark.parametrize("gamma, share", [(0.05, 0.04), (0.2, 0.1)])
def test_a_mu_of_all_losses_at_all_of_gamma_would_not_cover_a_new_record(gamma, share):
    drawn, above = exceedance(old_mu, 200, gamma, share, 0.85 * gamma, "one_sided")
    given = ~np.isnan(above)
    assert drawn[given].sum() > 0.5
    assert drawn[given] @ above[given] > gamma


@pytest.mark.parametrize("cell", [MEMORISED, POPULATION])
def test_the_document_is_json(cell):
    told = estimated(*cell).document
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize("copies", ["exact", "constant", "repeated members"])
def test_degenerate_data_give_json(copies):
    artificial, members, controls = (each.copy() for each in release(*SOFT)[:3])
    if copies == "exact":
        artificial = np.repeat(members, 10, axis=0)
    elif copies == "constant":
        artificial[:] = members[:] = controls[:] = 0.5
    else:
        members[10:20] = members[:10]
    for group_size in (1, 2) if copies != "constant" else (1,):
        told = privacy_estimate.estimate(
            artificial, members, controls, Config(group_size=group_size)
        ).document
        json.dumps(told, allow_nan=False)
        if copies == "exact":
            assert told["saturated_share"] == 1 and told["mean_is_at_least"]
            # The other record of a control's person may be a member.
            assert told["members_to_controls"] >= (10 if group_size == 1 else 2)


def test_one_member_is_refused():
    with pytest.raises(ValueError, match="--num_records of it, has 1 records; give at least 2"):
        estimated(*POPULATION, Config(num_records=1))


def test_some_records_are_looked_at():
    every, some = estimated(*SOFT), estimated(*SOFT, Config(num_records=30))
    assert len(some.members) == len(set(some.members)) == len(some.losses) == 30
    assert some.members.tolist() != list(range(30))
    assert every.members.tolist() == list(range(RECORDS))
    if some.document["imitation"] == "mixture":
        np.testing.assert_allclose(some.losses, every.losses[some.members])
    assert some.document["controls"]["count"] == 30


def test_a_seed_fixes_the_estimate():
    artificial, members, controls, _ = release(*SOFT)
    one, two, other = (
        privacy_estimate.estimate(artificial, members, controls, Config(seed=seed))
        for seed in (3, 3, 4)
    )
    assert one.document == two.document
    np.testing.assert_array_equal(one.losses, two.losses)
    names = [each.document["imitations"]["neighbours"]["mean"] for each in (one, other)]
    assert names[0] != names[1]


def test_seeds_are_averaged():
    """Of one halving the loss scatters; of several, less. The first halving is the same."""
    artificial, members, controls, _ = release(*POPULATION)
    rng = np.random.default_rng(0)
    rng.permutation(RECORDS)
    orders = [rng.permutation(EXAMPLES) for _ in range(3)]
    each = [
        estimation.imitate(artificial[order[:600]], artificial[order[600:]], members).losses
        for order in orders
    ]
    told = privacy_estimate.estimate(artificial, members, controls, Config(seeds=3)).document
    seen = told["imitations"]["neighbours"]["mean"]
    assert seen == pytest.approx(np.mean(each), rel=1e-9)
    assert seen != pytest.approx(each[0].mean(), rel=1e-9)


def test_a_person_of_two_records_loses_no_less():
    one = estimated(*SOFT).document["imitations"]
    two = estimated(*SOFT, Config(group_size=2)).document["imitations"]
    for name in privacy_estimate.IMITATIONS:
        assert two[name]["mean"] > 1.3 * one[name]["mean"]


def test_equal_records_are_no_second_record_of_a_person():
    artificial, members, controls, _ = release(*SOFT)
    twice = np.concatenate([members, members])
    one, two = (
        privacy_estimate.estimate(artificial, records, controls, Config(group_size=2)).document
        for records in (members, twice)
    )
    # The halves of the examples are others, but the mixture sees all of them.
    means = [each["imitations"]["mixture"]["mean"] for each in (one, two)]
    assert means[1] == pytest.approx(means[0])


def test_the_attack_finds_members_of_a_memoriser_alone():
    memorised, sampled = (estimated(*cell).document["attack"] for cell in (MEMORISED, POPULATION))
    for attack in (memorised, sampled):
        assert (attack["candidates"], attack["guesses"]) == (RECORDS, 24)
    assert memorised["correct"] >= 22 and 5 <= sampled["correct"] <= 19
    bound = privacy_estimate.lower_bound(memorised, 1e-6)
    assert bound == audit.epsilon_lower_bound(memorised["correct"], 24, 120, 1e-6, replaced=True)
    assert bound > 0.6
    assert privacy_estimate.lower_bound(sampled, 1e-6) == 0


@pytest.mark.parametrize("winner", privacy_estimate.IMITATIONS)
def test_promise_8_the_attack_picks_its_score_and_candidates_without_looking_at_who_is_a_member(
    winner,
):
    """The imitation that is larger in the pool says nothing of members here; the other one tells them all."""
    size, telling = 60, np.r_[np.ones(60), np.zeros(60)]

    def attack(seed, larger):
        losses = {
            name: larger if name == winner else telling for name in privacy_estimate.IMITATIONS
        }
        sides = privacy_estimate._Sides(
            **losses,
            mixture_error=0.0,
            owned=np.ones(2 * size),
            saturated=np.zeros(2 * size, bool),
            structure=None,
        )
        return privacy_estimate._attack(sides, size, np.random.default_rng(seed))

    rng = np.random.default_rng(0)
    # Larger in the pool, 0.75 to 0.5, and smaller for members, 0.75 to 1.
    found = [attack(seed, 0.5 + rng.random(2 * size) / 2) for seed in range(400)]
    assert {each["imitation"] for each in found} == {winner}
    assert all((each["candidates"], each["guesses"]) == (size, 12) for each in found)
    # Coins that nothing tells, each thrown by itself: right guesses are binomial, of 12 and one half.
    right = np.array([each["correct"] for each in found])
    assert abs(right.mean() - 6) < 5 * np.sqrt(3 / 400)
    assert abs(right.var() - 3) < 5 * 3 * np.sqrt(2 / 400)
    # The direction is fixed as well: what tells everything the other way round is never right.
    assert {attack(seed, 9 - telling)["correct"] for seed in range(20)} == {0}


@pytest.mark.parametrize(
    "members, controls, expected",
    [
        (2.0, 1.0, 2.0),
        (1.0, 4.0, 0.25),
        (0.0, 0.0, 1.0),
        (1.0, 0.0, 1000.0),
        (0.0, 1.0, 0.001),
        (1.0, -0.5, 1000.0),
        (-1.0, -2.0, 1.0),
        (-3.0, 1.0, 0.003),
    ],
)
def test_the_ratio_of_means(members, controls, expected):
    assert privacy_estimate.ratio(members, controls) == pytest.approx(expected)


def test_ratios_of_many_are_those_of_each():
    members, controls = np.array([1.0, 0, 5]), np.array([2.0, 0, -1])
    each = [privacy_estimate.ratio(*pair) for pair in zip(members, controls)]
    np.testing.assert_array_equal(privacy_estimate.ratio(members, controls), each)


def test_more_records_than_there_are_are_refused():
    artificial, members, controls, _ = release(*SOFT)
    with pytest.raises(ValueError, match="--num_records=121 exceeds the 120 training records"):
        privacy_estimate.estimate(artificial, members, controls, Config(num_records=121))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_controls_are_refused(count):
    artificial, members, controls, _ = release(*SOFT)
    with pytest.raises(ValueError, match=f"--control has {count} records; give at least 2"):
        privacy_estimate.estimate(artificial, members, controls[:count])


def test_too_few_examples_are_refused():
    artificial, members, controls, _ = release(*SOFT)
    with pytest.raises(ValueError, match="k=5 needs at least 6 artificial examples.*got 5"):
        privacy_estimate.estimate(artificial[:11], members, controls)


def test_spaces_that_differ_are_refused():
    artificial, members, controls, _ = release(*SOFT)
    for arrays in [(artificial[:, 1:], members, controls), (artificial, members[:, 1:], controls)]:
        with pytest.raises(ValueError, match="dimensions of points, got"):
            privacy_estimate.estimate(*arrays)
    with pytest.raises(ValueError, match="dimension"):
        privacy_estimate.estimate(artificial, members, controls[:, 1:])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, "--k must be a positive whole number, got 0"),
        ({"group_size": -1}, "--group_size must be"),
        ({"seeds": 0}, "--seeds must be"),
        ({"num_records": 0}, "--num_records must be"),
        ({"gammas": (0.1, float("nan"))}, "--gammas must be between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_a_proof_bounds_a_whole_release_where_it_is_less():
    bounds = {"saw_yang_mo": {"per_example": 0.1, "per_release": 20.0}}
    row = {"gamma": 0.05, "refused": None, "bounds": bounds}
    with_proof = privacy_estimate_study._with_proof
    assert with_proof(row, 3.0)["least_per_release"] == 3.0
    assert with_proof(row, 3.0)["least_by"] == "proof"
    assert with_proof(row, 30.0)["least_per_release"] == 20.0
    assert with_proof(row, None)["least_by"] == "estimate"
    refused = {**row, "bounds": {}, "refused": "saturated"}
    assert with_proof(refused, 3.0)["least_by"] == "proof"
    nothing = with_proof(refused, None)
    assert (nothing["least_per_release"], nothing["least_by"]) == (None, "nothing")
