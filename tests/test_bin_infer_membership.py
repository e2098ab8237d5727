# SPDX-License-Identifier: Apache-2.0
"""`bin/infer_membership` as a person meets it: attacks and audits of noise, which can be known by heart alone."""

from __future__ import annotations

import json

import evaluation_samples
import numpy as np
import pytest
import scripts
from PIL import Image
from scripts import ROOT

from tfartgen import canary_audit, membership_critic, run_models, students
from tfartgen.rounding import downwards

STUDENT = ("--students=real", "--student_steps=120", "--shadow_models=0")
TRAINING = (
    "--train_setting=noise_multiplier=0",
    "--train_setting=steps=2",
    "--train_setting=batch_size=16",
    "--train_setting=critic_width=4",
    "--train_setting=generator_width=2",
    "--train_setting=generator_batch_size=6",
)


def noise(count, seed, side=8):
    images = np.random.default_rng(seed).integers(256, size=(count, side, side, 1))
    return images.astype(np.uint8)


def lots(count, seed):
    return np.random.default_rng(seed).permutation(np.arange(count) % 2)


def npz(path, images, test=None, **more):
    """A data set of two classes by lot; without test images, some of the others are held out."""
    if test is not None:
        more.update(test_images=test, test_labels=lots(len(test), 1))
    np.savez(path, images=images, labels=lots(len(images), 0), **more)
    return str(path)


def release(folder, images):
    return evaluation_samples.write_release(
        folder, "noise", images, lots(len(images), 2).astype(np.int32)
    )


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A data set of 60 records and 120 that are held out, and a release of copies of the records."""
    folder = tmp_path_factory.mktemp("membership")
    npz(folder / "noise.npz", noise(60, 0), noise(120, 1))
    release(folder / "copies", noise(60, 0))
    return folder


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("infer_membership") as main:
        yield main


@pytest.fixture(name="infer")
def _infer(main, folder, tmp_path, monkeypatch):
    """Runs `main` in an empty folder on the data set above, where no other is given."""
    monkeypatch.chdir(tmp_path)

    def infer(*given):
        usual = () if any(g.startswith("--dataset=") for g in given) else ("--dataset=noise.npz",)
        usual = tuple(each.replace("noise.npz", str(folder / "noise.npz")) for each in usual)
        return main(*usual, *given)

    return infer


def document_of(tmp_path, path="evaluations/noise/membership.json"):
    """What was written; JSON with NaN or infinity is an error."""
    content = (tmp_path / path).read_text()
    return json.loads(content, parse_constant=lambda text: pytest.fail(f"{text} in JSON"))


def test_an_attack_says_what_it_found_in_80_columns(infer, tmp_path, capsys):
    assert infer(*STUDENT) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    assert "note: 60 non-members cannot show a false-positive rate of 0.01" in err
    assert out.splitlines()[-4:] == [
        "Written:   evaluations/noise: membership.png, membership.json",
        "Privacy:   PRIVATE. These figures are computed from the real records, and no",
        "           epsilon covers them",
        "Next:      look at evaluations/noise/membership.png",
    ]
    document = document_of(tmp_path)
    assert document["schema"] == "tfartgen.membership/1"
    assert document["dataset"]["num_members"] == document["dataset"]["num_references"] == 60
    (attack,) = document["attacks"]
    assert attack["main"]["auc"]["value"] >= 0.9  # it knows its noise by heart
    assert attack["control"]["auc"]["low"] <= 0.5 <= attack["control"]["auc"]["high"]
    assert f"{attack['main']['auc']['value']:.3f} (" in out and "finds members" in out
    assert document["settings"]["students"]["student"]["steps"] == 120
    names = {path.name for path in (tmp_path / "evaluations/noise").iterdir()}
    assert names == {"membership.json", "membership.png", "trials"}
    with Image.open(tmp_path / "evaluations/noise/membership.png") as image:
        assert image.format == "PNG" and image.size[0] == 1000
    assert str(tmp_path) not in json.dumps(document)


def test_the_same_command_again_trains_nothing_and_writes_the_same(infer, tmp_path, monkeypatch):
    few = (*STUDENT, "--student_steps=5", "--output=there", "--false_positive_rates=0.1,0.05")
    assert infer(*few) == 0
    content = document_of(tmp_path, "there/membership.json")
    assert content["settings"]["false_positive_rates"] == [0.1, 0.05]

    def forbidden(*_):
        raise AssertionError("a student was trained again")

    monkeypatch.setattr(students, "train_student", forbidden)
    assert infer(*few) == 0
    assert document_of(tmp_path, "there/membership.json") == content
    with pytest.raises(AssertionError, match="trained again"):
        infer(*few, "--seed=1")


def test_shadow_models_add_the_likelihood_ratio(infer, tmp_path, monkeypatch):
    """Of students that answer by lot: training is tested with the library."""
    seeds = []

    def train(images, labels, num_classes, config):
        seeds.append(config.seed)
        return config.seed

    def answers(seed, images):
        return np.random.default_rng(seed).normal(size=(len(images), 2))

    monkeypatch.setattr(students, "train_student", train)
    monkeypatch.setattr(students, "logits", answers)
    assert infer("--students=real", "--shadow_models=8") == 0
    assert len(set(seeds)) == len(seeds) >= 11
    names = [each["name"] for each in document_of(tmp_path)["attacks"]]
    assert names == ["loss threshold", "likelihood ratio"]


def test_a_release_of_copies_is_found_out_and_needs_no_students(infer, folder, tmp_path, capsys):
    assert infer(f"--artificial={folder}/copies", "--students=none", "--dimensions=8") == 0
    document = document_of(tmp_path)
    assert [each["name"] for each in document["attacks"]] == ["nearest", "nearest, calibrated"]
    assert all(each["main"]["auc"]["value"] > 0.95 for each in document["attacks"])
    assert document["releases"][0]["num_examples"] == 60
    assert not (tmp_path / "evaluations/noise/trials").exists()
    assert "release: nearest, calibrated" in capsys.readouterr().out


def test_promise_14_the_command_prints_control_memorised_and_intervals(
    infer, folder, tmp_path, capsys
):
    assert infer(f"--artificial={folder}/copies", "--students=none", "--dimensions=8") == 0
    out = capsys.readouterr().out
    for attack in document_of(tmp_path)["attacks"]:
        lines = out.splitlines()
        place = lines.index(f"release: {attack['name']}")
        for line, role in zip(lines[place + 1 :], ("main", "control", "memorised")):
            auc = attack[role]["auc"]
            assert line.split()[0].startswith({"main": "attack"}.get(role, role))
            assert f" {auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})" in line
            assert auc["low"] < auc["value"] or auc["value"] == 0
        assert f"Release, {attack['name']}: finds members; it could have succeeded" in flat(out)


def flat(text):
    return " ".join(text.split())


def test_students_are_all_that_there_are_where_none_are_named(infer, folder, tmp_path, monkeypatch):
    from tfartgen import membership_students

    asked = []

    def run(self, progress):
        asked.append((self._config.kinds, self._maker._budget.epsilon))
        raise ValueError("enough")

    monkeypatch.setattr(membership_students.StudentAttacks, "run", run)
    for given in ((), (f"--artificial={folder}/copies", "--dimensions=8", "--epsilon=2")):
        with pytest.raises(ValueError, match="enough"):
            infer(*given)
    assert asked == [(("real", "dp_sgd"), 3.0), (("real", "artificial", "dp_sgd"), 2.0)]


def test_given_non_members_take_the_place_of_those_held_out(infer, folder, tmp_path):
    others = npz(tmp_path / "others.npz", noise(150, 3))
    given = (f"--artificial={folder}/copies", "--students=none", "--dimensions=8")
    assert infer(f"--non_members={others}", *given, "--num_candidates=30") == 0
    about = document_of(tmp_path)["dataset"]
    assert (about["num_non_members"], about["num_references"]) == (30, 120)


def test_the_critic_of_a_run_is_attacked(infer, tmp_path, monkeypatch):
    """One that says how bright a record is, as if it had been trained."""
    seen = []

    def of_run(run_dir, train):
        seen.append((run_dir, train.arrays()[0].shape[1:]))
        return "critic"

    def scores(critic, images, labels):
        return images.mean(axis=(1, 2, 3)) + labels

    monkeypatch.setattr(membership_critic, "of_run", of_run)
    monkeypatch.setattr(membership_critic, "memorising", lambda *_: "critic")
    monkeypatch.setattr(run_models, "new_critic", lambda *_: "critic")
    monkeypatch.setattr(run_models, "critic_scores", scores)
    assert infer("--run_dir=runs/toy", "--students=none") == 0
    assert seen == [("runs/toy", (8, 8, 1))]
    (attack,) = document_of(tmp_path)["attacks"]
    assert attack["name"] == "critic's score" and attack["published"] is False


# Audits.


def test_an_audit_prints_both_bounds_and_trains_once(infer, tmp_path, capsys):
    given = ("--audit", "--num_canaries=20", "--guesses=10", *TRAINING)
    assert infer(*given) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    (path,) = (tmp_path / "evaluations/noise").glob("audit-*/audit.json")
    document = document_of(path.parent, "audit.json")
    assert document["schema"] == "tfartgen.canary_audit/1" and document["candidates"] == 20
    assert document["scores"]["critic"]["guesses"] == 10
    assert document["settings"]["train"]["steps"] == 2
    shown = " ".join(out.split())
    assert f"epsilon is at least {downwards(document['lower_bound'])} with 95% confidence" in shown
    assert "the accountant has no upper bound for it" in shown
    assert "The bounds nest." in shown and "exceeds" not in err
    folder = path.parent.relative_to(tmp_path)
    assert f"Written: evaluations/noise/audit.json, and {folder}" in shown and "PRIVATE" in out
    assert (tmp_path / "evaluations/noise/audit.json").read_text() == path.read_text()
    before = {each: each.stat().st_mtime_ns for each in path.parent.glob("run/**/ckpt*")}
    assert before and infer(*given) == 0
    assert {each: each.stat().st_mtime_ns for each in path.parent.glob("run/**/ckpt*")} == before
    assert document_of(path.parent, "audit.json") == document


def test_an_audit_above_the_accountant_fails(infer, tmp_path, monkeypatch, capsys):
    asked = []

    def run(data, config, folder, settings, progress):
        asked.append((config.steps, settings, folder))
        score = {"guesses": 10, "correct": 10, "auc": 1.0, "lower_bound": 2.5}
        return {
            "dataset": {"name": data.name, "num_train": data.train.num_examples},
            "candidates": 20,
            "included": 9,
            "confidence": settings.confidence,
            "scores": {"critic": score},
            "lower_bound": 2.5,
            "accountant": {"epsilon": 1.5, "delta": 1e-5},
            "consistent": False,
        }

    monkeypatch.setattr(canary_audit, "run", run)
    given = ("--audit", "--confidence=0.9", "--seed=7", "--train_setting=steps=4", "--output=there")
    assert infer(*given) == 1
    out, err = capsys.readouterr()
    assert "THE LOWER BOUND IS ABOVE" in out and "the bound exceeds" not in out
    assert "the lower bound exceeds the accountant's epsilon" in err
    ((steps, settings, folder),) = asked
    assert steps == 4 and settings == canary_audit.AuditConfig(confidence=0.9, seed=7)
    assert str(folder).startswith("there/audit-")


def test_an_attack_that_is_stopped_says_how_to_go_on(infer, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(students, "train_student", stopped)
    with pytest.raises(KeyboardInterrupt):
        infer(*STUDENT)
    assert "the same command goes on where this one stopped" in capsys.readouterr().err


# Bad input.


@pytest.mark.parametrize(
    "given, message",
    [
        ("--students=none", "nothing to attack; give --artificial, --run_dir or --students"),
        ("--students=", "nothing to attack; give --artificial, --run_dir or --students"),
        ("--students=pate", "--students must be one of real, .*, none, got 'pate'"),
        ("--students=real,none", "--students=real,none: none goes with no other student"),
        ("--students=artificial", "--students=artificial needs a release; give --artificial, or"),
        ("--architecture=vgg", "--architecture must be one of logistic_regression, .* got 'vgg'"),
        ("--shadow_models=7", "--shadow_models=7 must be 0, .*, or an even number from 8"),
        ("--student_steps=0", "--student_steps must be a positive whole number, got 0"),
        ("--dp_steps=0", "--dp_steps must be a positive whole number, got 0"),
        ("--epsilon=0", "--epsilon must be a positive number, got 0"),
        ("--delta=1", r"--delta must be between 0 and 1 \(exclusive\), got 1"),
        ("--num_candidates=0", "--num_candidates must be a positive whole number, got 0"),
        ("--num_candidates=61", "--num_candidates=61 exceeds the 60 that there are"),
        ("--dimensions=0", "--dimensions must be a positive whole number, got 0"),
        ("--seed=-1", "--seed must be a non-negative number, got -1"),
        ("--false_positive_rates=0.1,x", "must be numbers with commas, got '0.1,x'"),
        ("--false_positive_rates=1", r"between 0 and 1 \(exclusive\), got 1.0"),
        ("--false_positive_rates=nan", r"between 0 and 1 \(exclusive\), got nan"),
        ("--false_positive_rates=0.01", "=0.01 needs at least 100 non-members, and there are 60;"),
        ("--dataset=nowhere", "--dataset=nowhere is neither a known data set nor"),
        ("--non_members=nowhere", "--non_members=nowhere is neither a known data set nor"),
        ("--artificial=nowhere", "--artificial=nowhere: it has no privacy.json"),
        ("--run_dir=nowhere --students=none", "nowhere holds no run; give the --run_dir of a fin"),
        ("--num_canaries=9", "without --audit there is no use for --num_canaries; leave it out"),
        ("--guesses=9", "without --audit there is no use for --guesses; leave it out"),
        ("--confidence=0.9", "without --audit there is no use for --confidence; leave it out"),
        ("--train_setting=steps=3", "without --audit there is no use for --train_setting; leave"),
        (
            "--audit --artificial=a",
            "--audit has no use for --artificial; settings of the run go into --train_setting; leave",
        ),
        ("--audit --run_dir=a", "--audit has no use for --run_dir"),
        ("--audit --epsilon=1", "--audit has no use for --epsilon"),
        ("--audit --students=real", "--audit has no use for --students"),
        ("--audit --num_canaries=0", "--num_canaries must be a positive whole number, got 0"),
        ("--audit --guesses=201", "--guesses must be at most --num_canaries=200, got 201"),
        ("--audit --confidence=1", r"--confidence must be between 0 and 1 \(exclusive\), got 1"),
        ("--audit --train_setting=step=3", "step=3 is not NAME=VALUE"),
        ("--audit --train_setting=sampling=shuffle", "shuffle is priced for .*; give poisson"),
        ("--audit --num_canaries=600", "=600 takes 200 held-out images, and there are 120; give"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(infer, tmp_path, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        infer(*given.split())
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/*.json")) and not list(tmp_path.glob("**/*.npz"))


def test_non_members_of_no_use(infer, tmp_path):
    members = npz(tmp_path / "members.npz", noise(50, 3), noise(60, 0)[:4])
    message = f"--non_members={members}: 4 of the 54 non-members are members too; leave them out"
    with pytest.raises(ValueError, match=message):
        infer(f"--non_members={members}")
    names = npz(tmp_path / "named.npz", noise(150, 3), class_names=np.array(["cat", "dog"]))
    with pytest.raises(ValueError, match="--non_members=.*named.npz has other classes than --data"):
        infer(f"--non_members={names}")
    large = npz(tmp_path / "large.npz", noise(150, 3, side=9))
    with pytest.raises(ValueError, match="--non_members=.*large.npz: .* of one shape"):
        infer(f"--non_members={large}")
    assert not (tmp_path / "evaluations").exists()


def test_a_release_of_other_images_is_refused(infer, tmp_path):
    other = release(tmp_path / "other", noise(40, 4, side=9))
    message = f"--artificial={other} has images 9 x 9 x 1, --dataset=noise has 8 x 8 x 1; give"
    with pytest.raises(ValueError, match=message):
        infer(f"--artificial={other}", "--students=none")
    assert not (tmp_path / "evaluations").exists()


def test_help_needs_no_tensorflow(tmp_path):
    status, out, err = scripts.ended(scripts.start("infer_membership", tmp_path, "--help"))
    assert (status, err) == (0, "")
    assert "bin/infer_membership --audit --train_setting=noise_multiplier=0" in out
    text = (ROOT / "bin" / "infer_membership").read_text()
    for name in ("tensorflow", "numpy", "sklearn"):
        assert f"\nimport {name}" not in text and f"\nfrom {name}" not in text
