# SPDX-License-Identifier: Apache-2.0
"""`bin/estimate_privacy --adjacency=retrain`: losses by retraining beside the imitated ones of the same records."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Callable

from tfartgen import estimation, feature_spaces, privacy_estimate
from tfartgen.data import PrivateData
from tfartgen.privacy_estimate import PrivacyEstimateConfig
from tfartgen.retrained_generators import Draw, Job, train_and_draw
from tfartgen.retraining import RetrainConfig, Retraining, compare


def run(
    private: PrivateData,
    retrain: RetrainConfig,
    config: PrivacyEstimateConfig,
    space: tuple[str, int],
    folder: pathlib.Path,
    progress: Callable[[str], object] = lambda line: None,
    train: Callable[[Job], Draw] = train_and_draw,
) -> dict[str, Any]:
    """Retrains, imitates on the first generator of all records, and compares.

    The feature space is made from the held-out split, which no generator saw.

    Args:
      private: the data set.
      retrain: what is retrained.
      config: of the imitation.
      space: name and number of dimensions of the feature space.
      folder: of the study; one that was stopped goes on in it. Private.
      progress: called with a line for people.
      train: see `Retraining`.

    Returns:
      The document, JSON-able: that of `Retraining.run`, with `comparison`, `space` and `imitation`.

    Raises:
      ValueError: settings that the data does not carry, or a generator of no use.
      KeyboardInterrupt: it was stopped; finished generators are kept.
      OSError: a file cannot be written.
    """
    # Before hours of training: the imitation halves what is drawn.
    estimation.require_examples(retrain.num_examples // 2, config.k)
    controls, labels = private.held_out.arrays()
    made = feature_spaces.make(*space, controls, labels, len(private.class_names))
    study = Retraining(private, retrain, folder, made.embed, train)
    document = study.run(progress)
    progress("imitation")
    members = made.embed(private.train.arrays()[0])
    found = privacy_estimate.estimate(
        made.embed(study.baseline_draw()[0]), members, made.embed(controls), config
    )
    imitated = found.losses[study.records]
    return {
        **document,
        "space": {"name": made.name, "dimensions": made.dimensions, **made.facts},
        "imitation": found.document["imitation"],
        "saturated_share": float(found.saturated[study.records].mean()),
        "comparison": compare(
            document["losses"], imitated.tolist(), document["floor"]["standard_error"]
        ),
    }


def text(document: Mapping[str, Any]) -> str:
    """The comparison for people, at most 80 columns wide."""
    comparison, floor = document["comparison"], document["floor"]
    lines = [
        f"Expected privacy loss by retraining without each of {len(document['records'])} records, in nats per",
        f"artificial example, in {document['space']['dimensions']} dimensions ({document['space']['name']})",
        "",
        f"{'Floor':<21}{floor['mean']:.3g} +- {2 * floor['standard_error']:.2g}: generators of the same records",
        *(
            f"{name:<21}{each['mean']:.3g} (95%: {each['low']:.3g} to {each['high']:.3g})"
            for name, each in (
                ("By retraining", comparison["retrained"]),
                ("Imitated", comparison["imitated"]),
            )
        ),
        f"{'  saturated':<21}{document['saturated_share']:.0%} of them: imitated losses are at least these",
        f"{'Ratio':<21}{_with_interval(comparison, 'ratio')}",
        f"{'Rank correlation':<21}{_with_interval(comparison, 'spearman')}",
    ]
    return "\n".join(lines)


def _with_interval(comparison: Mapping[str, Any], name: str) -> str:
    value, low, high = (comparison[key] for key in (name, f"{name}_low", f"{name}_high"))
    interval = "no interval" if low is None else f"95%: {low:.3g} to {high:.3g}"
    return f"{'none' if value is None else format(value, '.3g')} ({interval})"
