# SPDX-License-Identifier: Apache-2.0
"""Who is told from whom, and attacks on releases and critics whose answers are known beforehand."""

from __future__ import annotations

import collections
import json
import shutil

import evaluation_samples
import numpy as np
import pytest

from tfartgen import data, membership_critic, membership_study, training
from tfartgen.membership_study import Candidates, MembershipConfig
from tfartgen.train_config import TrainConfig

CLASSES = ("a", "b", "c")


def noise(count, seed, side=8):
    """Images of which no two are alike, under labels in turn."""
    images = np.random.default_rng(seed).integers(256, size=(count, side, side, 1))
    return images.astype(np.uint8), (np.arange(count) % 3).astype(np.int32)


def waves(count, seed):
    """Mixtures of six patterns: of six dimensions, so that any sample of them spans the same space."""
    grid = np.arange(8) / 8 * np.pi
    patterns = np.stack(
        [np.outer(np.cos(a * grid), np.cos(b * grid)) for a in (0, 1, 2) for b in (1, 2)]
    )
    mixed = np.random.default_rng(seed).normal(size=(count, 6)) @ patterns.reshape(6, -1)
    images = np.clip(128 + 25 * mixed, 0, 255).reshape(count, 8, 8, 1).astype(np.uint8)
    return images, (np.arange(count) % 3).astype(np.int32)


def private(train, held_out):
    splits = data.Split.from_arrays(*train), data.Split.from_arrays(*held_out)
    return data.PrivateData("toy", train[0].shape[1:], CLASSES, *splits)


def joined(*parts):
    return tuple(np.concatenate(each) for each in zip(*parts))


def first(records, count):
    return records[0][:count], records[1][:count]


def counted(records):
    """How often each labelled image is there."""
    return collections.Counter((image.tobytes(), int(label)) for image, label in zip(*records))


def choose(train=None, held_out=None, others=None, **settings):
    given = private(train or noise(50, 0), held_out or noise(41, 1))
    return Candidates.of(given, MembershipConfig(**settings), others)


# Candidates.


def test_members_were_trained_on_and_others_are_disjoint_halves_of_what_was_held_out():
    train, held_out = noise(50, 0), noise(41, 1)
    found = choose(train, held_out)
    assert counted(found.members) <= counted(train) and len(found.members[1]) == 20
    assert counted(found.non_members) + counted(found.references) == counted(held_out)
    assert (len(found.non_members[1]), len(found.references[1])) == (20, 21)
    assert counted(found.train) == counted(train)
    assert (found.records[0][:20] == found.members[0]).all()
    assert (found.records[1][20:] == found.non_members[1]).all()
    assert found.notes == (
        "20 non-members cannot show a false-positive rate of 0.01 (100 non-members), 0.001 (1000 non-members); left out",
    )


def test_the_choice_is_that_of_the_seed():
    one, again, other = choose(seed=3), choose(seed=3), choose(seed=4)
    assert one.digest == again.digest != other.digest
    for kind in ("members", "non_members", "references"):
        same, different = getattr(again, kind)[0], getattr(other, kind)[0]
        assert (getattr(one, kind)[0] == same).all(), kind
        assert same.shape != different.shape or (same != different).any(), kind


def test_the_digest_tells_labels_and_records_of_training_that_are_no_candidates():
    images, labels = noise(50, 0)
    found = choose(num_candidates=5)
    other = (images == found.rest[0][7]).all(axis=(1, 2, 3))
    relabelled = choose((images, np.where(other, (labels + 1) % 3, labels)), num_candidates=5)
    assert other.sum() == 1 and counted(relabelled.members) == counted(found.members)
    assert found.digest != relabelled.digest
    assert choose(num_candidates=5).digest != choose(noise(49, 0), num_candidates=5).digest


def test_held_out_records_that_equal_a_training_record_are_dropped_and_counted():
    train = noise(50, 0)
    found = choose(train, joined(first(train, 7), noise(40, 1)))
    assert found.notes[0] == "7 held-out record(s) equal a training record, and are left out"
    kept = counted(found.non_members) + counted(found.references)
    assert kept == counted(noise(40, 1))


def test_a_picture_that_is_held_out_twice_is_no_reference_of_itself():
    """A non-member at distance zero from a reference would be told by that."""
    held_out = noise(20, 1)
    found = choose(held_out=joined(held_out, held_out))
    assert not counted(found.references).keys() & counted(found.non_members).keys()
    both = 20 - len(found.references[1])
    assert both > 0
    assert f"{both} reference(s) equal a non-member, and are left out" in found.notes


def test_controls_learn_training_records_that_are_no_candidates():
    found = choose(num_candidates=5)
    assert counted(found.unseen) == counted(found.rest)
    assert len(found.unseen[1]) == 50 - 5
    few = choose(noise(12, 0), noise(40, 1))  # all training records are candidates
    assert len(few.rest[1]) == 0 and counted(few.unseen) == counted(few.references)


def test_non_members_that_are_given_leave_all_that_was_held_out_as_references():
    held_out, others = noise(41, 1), noise(30, 2)
    found = choose(held_out=held_out, others=("--non_members=x", others))
    assert counted(found.non_members) == counted(others)
    assert counted(found.references) == counted(held_out)
    again = choose(
        held_out=held_out, others=("--non_members=x", joined(others, first(held_out, 5)))
    )
    assert "5 reference(s) equal a non-member, and are left out" in again.notes
    assert len(again.references[1]) == 36


def test_given_non_members_that_were_trained_on_are_refused_and_counted():
    others = joined(noise(30, 2), first(noise(50, 0), 4))
    message = "^--non_members=x: 4 of the 34 non-members are members too; leave them out"
    with pytest.raises(ValueError, match=message):
        choose(others=("--non_members=x", others))
    other_shape = np.zeros([9, 9, 8, 1], np.uint8), np.zeros(9, np.int32)
    with pytest.raises(ValueError, match="--non_members=x: .* give uint8 images of one shape"):
        choose(others=("--non_members=x", other_shape))


def test_rates_that_the_non_members_cannot_show_are_refused_where_asked_for_and_else_noted():
    with pytest.raises(ValueError, match="=0.01 needs at least 100 non-members, and there are 20;"):
        choose(false_positive_rates=(0.1, 0.01))
    assert choose(false_positive_rates=(0.1,)).rates == (0.1,)
    assert choose(false_positive_rates=(0.1,)).notes == ()
    more = choose(noise(120, 0), noise(200, 1))
    assert more.rates == (0.01,) and len(more.notes) == 1
    expected = "100 non-members cannot show a false-positive rate of 0.001 (1000 non-members)"
    assert more.notes[0].startswith(expected)


@pytest.mark.parametrize(
    "held_out, changes, message",
    [
        (
            41,
            {"num_candidates": 21},
            "--num_candidates=21 exceeds the 20 that there are of members",
        ),
        (41, {"num_candidates": 0}, "--num_candidates must be a positive whole number, got 0"),
        (41, {"dimensions": 0}, "--dimensions must be a positive whole number, got 0"),
        (41, {"seed": -1}, "--seed must be a non-negative number, got -1"),
        (3, {}, "--dataset=toy leaves 1 non-members, and at least 2 are needed; give more"),
    ],
)
def test_what_cannot_be_chosen_is_refused(held_out, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose(held_out=noise(held_out, 1), **changes)
    assert "\n" not in str(caught.value)


def test_fewer_candidates_are_as_many_of_each():
    found = choose(num_candidates=11)
    assert len(found.members[1]) == len(found.non_members[1]) == 11
    assert len(found.references[1]) == 21
    few_members = choose(noise(9, 0))
    assert len(few_members.members[1]) == len(few_members.non_members[1]) == 9


@pytest.mark.parametrize("count", [None, 8])
def test_the_pool_holds_each_record_once_and_what_is_twice_in_training_twice(count):
    train = joined(noise(30, 0), first(noise(30, 0), 30))  # each picture twice
    found = choose(train, num_candidates=count)
    expected = counted(train) + counted(found.non_members) + counted(found.references)
    assert counted(found.pool) == expected
    candidates = len(found.records[1])
    assert (found.pool[0][:candidates] == found.records[0]).all()
    assert (found.pool[1][:candidates] == found.records[1]).all()


def test_success_takes_members_first():
    found = choose(num_candidates=5, false_positive_rates=(0.25,))
    result = found.success(np.r_[np.ones(5), np.zeros(5)])
    assert result["auc"]["value"] == 1 and result["num_members"] == 5
    assert [each["false_positive_rate"] for each in result["true_positive_rates"]] == [0.25]
    assert found.success(np.r_[np.zeros(5), np.ones(5)])["auc"]["value"] == 0


# Releases.


def waves_candidates(**settings):
    return choose(waves(100, 0), waves(200, 1), dimensions=6, **settings)


def released(records, **changes):
    images, labels = records
    return evaluation_samples.release(images=images, labels=labels, class_names=CLASSES, **changes)


def at_chance(result):
    return result["auc"]["low"] <= 0.5 <= result["auc"]["high"]


def test_a_control_sees_how_populations_differ():
    """Members are dark and others bright: a dark release says no more of them than dark records that are no candidates."""

    def dark(count, seed):
        images, labels = waves(count, seed)
        return images // 2, labels

    def bright(count, seed):
        return dark(count, seed)[0] + 128, dark(count, seed)[1]

    candidates = choose(dark(200, 0), bright(80, 1), num_candidates=40)
    for attack in membership_study.of_release(
        candidates, released(dark(300, 2)), MembershipConfig(dimensions=6)
    ):
        main, control = attack["main"]["auc"], attack["control"]["auc"]
        assert main["low"] > 0.6 and control["low"] > 0.6, attack["name"]
        assert main["value"] == pytest.approx(control["value"], abs=0.1), attack["name"]


def test_promise_14_a_release_of_copies_gives_its_members_away_and_its_control_does_not():
    candidates = waves_candidates()
    attacks = membership_study.of_release(
        candidates, released(candidates.members), MembershipConfig(dimensions=6)
    )
    assert [each["name"] for each in attacks] == ["nearest", "nearest, calibrated"]
    for each in attacks:
        assert each["target"] == "release" and each["published"]
        assert each["main"]["auc"]["value"] > 0.98
        assert at_chance(each["control"]) and each["memorised"]["auc"]["value"] >= 0.9
        assert each["main"]["true_positive_rates"][0]["rate"] > 0.9


def test_promise_14_a_release_at_chance_stands_beside_one_that_memorised():
    candidates = waves_candidates()
    attacks = membership_study.of_release(
        candidates, released(waves(100, 2)), MembershipConfig(dimensions=6)
    )
    for each in attacks:
        assert at_chance(each["main"]) and at_chance(each["control"])
        assert each["main"]["auc"]["high"] - each["main"]["auc"]["low"] < 0.2
        assert each["memorised"]["auc"]["value"] >= 0.9


def test_a_release_of_the_non_members_is_told_from_one_of_the_members():
    """The sign of the score: what is far from the release is a non-member."""
    candidates = waves_candidates()
    attacks = membership_study.of_release(
        candidates, released(candidates.non_members), MembershipConfig(dimensions=6)
    )
    assert all(each["main"]["auc"]["high"] < 0.5 for each in attacks)


def test_a_release_of_other_images_is_refused():
    other = released((np.zeros([20, 9, 9, 1], np.uint8), np.zeros(20, np.int32)))
    message = "artificial/shades2 has images 9 x 9 x 1, --dataset=toy has 8 x 8 x 1; give the data"
    with pytest.raises(ValueError, match=message):
        membership_study.of_release(choose(), other, MembershipConfig())
    with pytest.raises(ValueError, match="--dimensions=65 exceeds the 64 .*; lower it"):
        membership_study.of_release(
            choose(), released(noise(90, 3)), MembershipConfig(dimensions=65)
        )


# Critics.


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A finished run of two steps on noise, whose critic has learned nothing; tests must not change it."""
    folder = tmp_path_factory.mktemp("study")
    config = TrainConfig(
        generator_width=2,
        latent_dim=4,
        generator_batch_size=6,
        batch_size=16,
        steps=2,
        noise_multiplier=8.0,
        critic_width=8,
    )
    training.train(
        private(noise(40, 0, 16), noise(80, 1, 16)), config, folder / "run", folder / "models"
    )
    return folder / "run"


def test_promise_14_a_critic_stands_beside_one_that_learned_nothing_and_one_that_memorised(run):
    candidates = choose(noise(40, 0, 16), noise(80, 1, 16))
    (attack,) = membership_study.of_critic(candidates, str(run), MembershipConfig())
    assert attack["target"] == "critic (not released)" and attack["published"] is False
    assert attack["memorised"]["auc"]["value"] >= 0.9
    for role in ("main", "control"):  # four standard deviations over initial weights
        assert attack[role]["auc"]["value"] == pytest.approx(0.5, abs=0.26)
        assert attack[role]["num_members"] == 40
    assert attack["memorised"]["num_non_members"] == 40


def test_a_critic_that_knows_its_records_is_found_out(run, monkeypatch):
    candidates = choose(noise(40, 0, 16), noise(80, 1, 16))
    knowing = membership_critic.memorising(str(run), candidates.members, candidates.references)
    monkeypatch.setattr(membership_critic, "of_run", lambda *_: knowing)
    monkeypatch.setattr(membership_critic, "memorising", lambda *_: knowing)
    (attack,) = membership_study.of_critic(candidates, str(run), MembershipConfig())
    assert attack["main"]["auc"]["value"] == attack["memorised"]["auc"]["value"] >= 0.9
    assert attack["control"]["auc"]["value"] == pytest.approx(0.5, abs=0.26)


def test_runs_that_cannot_be_attacked_are_refused(run, tmp_path):
    candidates = choose(noise(40, 0, 16), noise(80, 1, 16))
    with pytest.raises(ValueError, match="nowhere holds no run; give the --run_dir of a finished"):
        membership_study.of_critic(candidates, str(tmp_path / "nowhere"), MembershipConfig())
    message = f"--run_dir={run} has a critic of images 16 x 16 x 1, --dataset has 8 x 8 x 1; give"
    with pytest.raises(ValueError, match=message):
        membership_study.of_critic(choose(), str(run), MembershipConfig())
    with pytest.raises(
        ValueError, match="was trained on other records than those of --dataset; give"
    ):
        other = choose(noise(40, 5, 16), noise(80, 1, 16))
        membership_study.of_critic(other, str(run), MembershipConfig())
    without = shutil.copytree(run, tmp_path / "without")
    for name in ("config.json", "finished.json"):
        content = json.loads((without / name).read_text())
        (without / name).write_text(json.dumps({**content, "steps": 0}))
    with pytest.raises(ValueError, match="without holds a run without critic steps"):
        membership_study.of_critic(candidates, str(without), MembershipConfig())


# The document.


def test_the_document_says_what_was_compared():
    candidates, config = choose(num_candidates=12), MembershipConfig(num_candidates=12)
    release = released(noise(30, 5))
    content = membership_study.document(candidates, [{"a": 1}], config, None, [release])
    content = json.loads(json.dumps(content, allow_nan=False))
    assert content["schema"] == "tfartgen.membership/1" and content["attacks"] == [{"a": 1}]
    assert {"date", "machine", "python", "versions"} <= set(content)
    digest = candidates.digest
    sizes = {"num_train": 50, "num_members": 12, "num_non_members": 12, "num_references": 21}
    assert content["dataset"] == {"name": "toy", **sizes, "digest": digest}
    assert content["releases"][0]["num_examples"] == 30
    assert content["releases"][0]["epsilon"] == 40000 and content["settings"]["students"] is None
    assert content["settings"]["false_positive_rates"] == []
    assert content["notes"] == list(candidates.notes)
