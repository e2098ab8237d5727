# SPDX-License-Identifier: Apache-2.0
"""`bin/invert`: what an attacker recovers from classifiers trained on real data, on artificial data and with DP-SGD.

Every rate stands beside two that an attack gets without knowledge, of a target whose labels were shuffled (the
baseline) and of one that was not trained (the control), and beside what the judge says of real held-out images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from tfartgen import environment, evaluation_rows, inversion_judge
from tfartgen.classification import Outcome, proportion
from tfartgen.evaluation_data import EvaluationData
from tfartgen.inversion import CLASSIC, STRONG, InversionConfig
from tfartgen.inversion_judge import Judge, JudgeConfig
from tfartgen.inversion_targets import CONTROLS, TargetTrials
from tfartgen.packed_arrays import unpacked
from tfartgen.released_data import ReleasedData
from tfartgen.student_trials import COSTS
from tfartgen.trials import Trial, TrialStore

SCHEMA = "tfartgen.inversion/1"

#: Attacks by name.
ATTACKS: dict[str, InversionConfig] = {"classic": CLASSIC, "strong": STRONG}

#: Real test images that the judge's distances and similarities are stated for.
_YARDSTICK = 500
#: Artificial images of each class that are judged as they are.
_OF_RELEASE = 10
#: Guesses of which one may be right.
_TOP = 5


@dataclasses.dataclass(frozen=True)
class InversionStudyConfig:
    """What is attacked.

    Attributes:
      targets: some of `inversion_targets.KINDS`; none where a target is given.
      architectures: of the targets.
      seeds: targets of each kind.
      classes: labels to be attacked.
      attacks: some of `ATTACKS`.
      faces: whether classes are people, so that faces are looked for.
      judge: how the judge trains.
    """

    targets: tuple[str, ...]
    architectures: tuple[str, ...]
    seeds: int
    classes: tuple[int, ...]
    attacks: tuple[str, ...] = tuple(ATTACKS)
    faces: bool = False
    judge: JudgeConfig = JudgeConfig()

    @property
    def attack_configs(self) -> dict[str, InversionConfig]:
        """The attacks by name."""
        return {name: ATTACKS[name] for name in self.attacks}


class Jury:
    """Scores reconstructions and keeps the scores; the judge is trained when one is missing."""

    def __init__(self, data: EvaluationData, config: JudgeConfig, faces: bool, store: TrialStore):
        """Takes real data; nothing is trained yet."""
        self._data, self._config, self._faces, self._store = data, config, faces, store

    @functools.cached_property
    def _judge(self) -> Judge:
        data = self._data
        return Judge(data.train, data.test, data.num_classes, self._config)

    def scores(self, images: np.ndarray, classes: np.ndarray, key: str) -> dict[str, Any]:
        """`Judge.scores`, and `face` where faces are looked for.

        Args:
          images: uint8 `[n, height, width, channels]`.
          classes: integers `[n]`.
          key: what the images depend on.
        """

        def compute() -> dict[str, Any]:
            scores = self._judge.scores(images, classes)
            if self._faces:
                scores["face"] = inversion_judge.detected_faces(images).tolist()
            return scores

        return self._store.result(self._trial({"images": key}, compute))

    def yardstick(self) -> dict[str, Any]:
        """The judge's accuracy on real test images, and the scores of some of them."""

        def compute() -> dict[str, Any]:
            return {"accuracy": self._judge.accuracy}

        images, labels = self._data.test
        some = np.random.default_rng(0).permutation(len(labels))[:_YARDSTICK]
        accuracy = self._store.result(self._trial({"images": "accuracy"}, compute))
        scores = self.scores(images[some], labels[some], f"test {_YARDSTICK}")
        found = {**accuracy, **_averaged([scores])}
        del found["nearer_to_training"]  # each test image is its own nearest
        return found

    def _trial(self, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> Trial:
        common = {
            "data": self._data.digest,
            "judge": dataclasses.asdict(self._config),
            "faces": self._faces,
            "records_of_a_class": "at random",  # before 0.2, the first ones
        }
        return Trial("judged", {**common, **settings}, compute)


def _averaged(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rates and means over all images of several targets."""
    joined = {key: np.concatenate([each[key] for each in scores]) for key in scores[0]}
    known, count = joined["rank"], len(joined["rank"])
    found: dict[str, Any] = {
        "top1": proportion(int((known == 0).sum()), count),
        "top5": proportion(int((known < _TOP).sum()), count),
        **{key: float(joined[key].mean()) for key in ("feature_distance", "ssim")},
        "nearer_to_training": proportion(int(joined["nearer_to_training"].sum()), count),
    }
    if "face" in joined:
        found["face"] = proportion(int(joined["face"].sum()), count)
        recognisable = joined["face"] & (known == 0)
        found["recognisable"] = proportion(int(recognisable.sum()), count)
    return found


def row(
    jury: Jury,
    store: TrialStore,
    trials: Sequence[Trial],
    attack: str,
    classes: Sequence[int],
) -> dict[str, Any]:
    """What one attack recovers from targets that differ in their seeds.

    Args:
      jury: scores.
      store: of results; trials that are not stored run now.
      trials: one for each target.
      attack: its name.
      classes: that were attacked.

    Returns:
      JSON-able: accuracy of the targets, rates, means, seconds; without rates where all targets diverged.
    """
    results = [store.result(trial) for trial in trials]
    accuracies = [Outcome.from_json(each["outcome"]).accuracy for each in results]
    attacked = [(t, r["attacks"][attack]) for t, r in zip(trials, results) if not r["diverged"]]
    scores = [
        jury.scores(unpacked(found["images"]), np.array(classes), f"{trial.key} {attack}")
        for trial, found in attacked
    ]
    return {
        "attack": attack,
        "accuracies": accuracies,
        "accuracy": evaluation_rows.interval(accuracies),
        "diverged": len(results) - len(attacked),
        **{key: results[0][key] for key in COSTS if key in results[0]},
        **(_averaged(scores) if scores else {}),
        "confidence": float(np.mean([f["confidence"] for _, f in attacked])) if attacked else None,
        "seconds": [found["seconds"] for _, found in attacked],
        "train_seconds": [each.get("train_seconds", 0.0) for each in results],
    }


class InversionStudy:
    """The attack on all targets."""

    def __init__(
        self,
        data: EvaluationData,
        targets: TargetTrials,
        config: InversionStudyConfig,
        store: TrialStore,
        given: Optional[Trial] = None,
        releases: Sequence[ReleasedData] = (),
    ):
        """Plans; nothing is computed yet.

        Args:
          data: the real data.
          targets: makes trials.
          config: what is attacked.
          store: of results.
          given: `TargetTrials.given`, where somebody else's target is attacked.
          releases: whose own images are judged beside, for they may show what no attack has to recover.

        Raises:
          ValueError: a class with one training record only, of which nothing could be told from the record itself.
        """
        require_records(data)
        self._data, self._targets, self._config = data, targets, config
        self._store, self._given, self._releases = store, given, list(releases)
        self._jury = Jury(data, config.judge, config.faces, store)

    def trials(self) -> list[Trial]:
        """All targets."""
        return [trial for _, trials in self._groups() for trial in trials]

    def run(self, progress: Callable[[int], object] = lambda count: None) -> dict[str, Any]:
        """Computes what is not stored yet.

        Args:
          progress: called with 1 after each of `trials()`, and once more when everything is judged.

        Returns:
          The document, JSON-able.
        """
        for trial in self.trials():
            self._store.result(trial)
            progress(1)
        rows = [
            {**facts, **row(self._jury, self._store, trials, attack, self._config.classes)}
            for facts, trials in self._groups()
            for attack in self._config.attacks
        ]
        document = self._document(rows)
        progress(1)
        return document

    def pictures(self) -> dict[tuple[str, str, str], np.ndarray]:
        """Reconstructions of the first seed, uint8 `[classes, height, width, channels]`, by target, architecture and attack."""
        return {
            (facts["target"], facts["architecture"], attack): unpacked(found["images"])
            for facts, trials in self._groups()
            for attack, found in self._store.result(trials[0])["attacks"].items()
        }

    def _as_published(self, release: ReleasedData) -> dict[str, Any]:
        """What some images of each class of a release show, without an attack."""
        of_class = [np.flatnonzero(release.labels == c)[:_OF_RELEASE] for c in self._config.classes]
        some = np.concatenate(of_class)
        images, labels = release.images[some], release.labels[some]
        scores = self._jury.scores(images, labels, f"{release.digest} {_OF_RELEASE}")
        return {
            "folder": release.folder,
            "digest": release.digest,
            **{key: release.statement[key] for key in ("epsilon", "delta", "guarantee")},
            **_averaged([scores]),
        }

    def _groups(self) -> list[tuple[dict[str, str], list[Trial]]]:
        config = self._config
        groups = [
            (
                {"target": kind, "architecture": architecture},
                [self._targets.trial(kind, architecture, seed) for seed in range(config.seeds)],
            )
            for architecture in config.architectures
            for kind in (*config.targets, *CONTROLS)
        ]
        if self._given is not None:
            groups.insert(0, ({"target": "given", "architecture": "given"}, [self._given]))
        return groups

    def _document(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        data, config = self._data, self._config
        return {
            "schema": SCHEMA,
            **environment.describe(),
            "dataset": {
                "name": data.name,
                "class_names": list(data.class_names),
                "num_train": len(data.train[1]),
                "num_test": len(data.test[1]),
                "digest": data.digest,
            },
            "settings": {
                **dataclasses.asdict(config),
                "attacks": {k: dataclasses.asdict(v) for k, v in config.attack_configs.items()},
            },
            "chance": 1 / data.num_classes,
            "real_images": self._jury.yardstick(),
            "releases": [self._as_published(release) for release in self._releases],
            "rows": rows,
        }


def require_records(data: EvaluationData) -> None:
    """Raises a ValueError that names the first class with one training record only."""
    counts = np.bincount(data.train[1], minlength=data.num_classes)
    for label in np.flatnonzero(counts < 2):
        raise ValueError(
            f"--dataset={data.name}: class {data.class_names[label]} has one training record only; an inversion attack "
            "needs at least 2 of every class, one to be recovered and others to judge by"
        )


def labels_of(names: Optional[Sequence[str]], data: EvaluationData) -> tuple[int, ...]:
    """Labels of the classes that are named, all where none is.

    Raises:
      ValueError: there is no such class.
    """
    if names is None:
        return tuple(range(data.num_classes))
    for name in names or ("",):
        if name not in data.class_names:
            some = ", ".join(data.class_names[:5]) + (", ..." if data.num_classes > 5 else "")
            raise ValueError(
                f"--classes={name} is no class of --dataset={data.name}, which has {some}; give some of these"
            )
    return tuple(data.class_names.index(name) for name in dict.fromkeys(names))
