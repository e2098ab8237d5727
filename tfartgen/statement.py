# SPDX-License-Identifier: Apache-2.0
"""The privacy statement: what was released, by which mechanisms, at what cost, and what is not covered.

A statement is a dictionary of plain values, version 1 of `schemas/privacy.schema.json`. It carries all that its
own figures are computed from, so that anyone can price it again. Pure Python; no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from tfartgen import _validate, accounting
from tfartgen.artificial import LabelPolicy

STATEMENT_VERSION = 1

GENERATOR, DATA_SET = "generator", "data set"

#: What no statement of ours covers, unless the caller says otherwise.
NOT_PROTECTED = (
    "the number of training records",
    "the shape of the images, the number of classes and their names",
    "people with several records: the guarantee is for one record, and grows with their number",
    "what the records have in common, which is what the generator is for",
    "whatever else is released from the same records: another model, or another noised class histogram, adds to "
    "the cost",
)

RANDOM_NUMBER_CAVEATS = (
    "noise and sampling come from TensorFlow's counter-based generators, keyed by the operating system: "
    "statistically sound, not cryptographic",
    "noise is a floating-point Gaussian, which approximates the continuous one that the accountant prices "
    "(Mironov 2012)",
)

_HISTOGRAM_CAVEAT = "the noise of the class histogram is a floating-point Gaussian from the operating system's generator, rounded"
_DECLARED_HISTOGRAM = (
    "the class histogram of the released labels, which the owner declared to be public"
)

#: A path from the root of a file system: it tells of the machine, or of its user.
ABSOLUTE_PATH = re.compile(
    r"""(?:^|[\s"'`(\[{=,;:>|])(?:~?/|file:/+|[A-Za-z]:\\{1,2}|\\{2,4})(?![/\\])[\w.]""",
    re.MULTILINE,
)

_SCHEMA = pathlib.Path(__file__).with_name("schemas") / "privacy.schema.json"


def privacy_statement(
    stretches: Sequence[accounting.Stretch],
    delta: float,
    *,
    critic_steps: int,
    unit: str = "one record",
    public_sources: Sequence[str] = (),
    selected_on_private_data: Sequence[str] = (),
    not_protected: Sequence[str] = NOT_PROTECTED,
    void_reasons: Sequence[str] = (),
    budget_epsilon: Optional[float] = None,
) -> dict[str, Any]:
    """States what the steps that ran have cost.

    Formal guarantee: every figure comes from `stretches`, what ran, and none from settings; an epsilon is
    given only if the stretches account for every critic step and nothing voids them.

    Args:
      stretches: the ledger's, in the order in which they ran.
      delta: at which epsilon is stated; also at a tenth and a hundredth of it.
      critic_steps: the optimizer's own count, to be matched by the ledger's.
      unit: what one neighbour more or less means.
      public_sources: what training started from that was learned from other data, which the owner declared to be public.
      selected_on_private_data: choices made by looking at private data, which epsilon does not cover.
      not_protected: what the guarantee says nothing about.
      void_reasons: why there is no guarantee whatever the figures; empty if there is none.
      budget_epsilon: what epsilon must not exceed; None without a budget.

    Returns:
      A dictionary of plain values, ready for `json.dump`; no infinity or NaN in it, null instead.

    Raises:
      ValueError: the ledger's steps are not the optimizer's, or epsilon exceeds the budget.
    """
    _validate.probability("delta", delta)
    recorded = accounting.Ledger(stretches).steps
    if recorded != critic_steps:
        raise ValueError(
            f"the ledger has {recorded} critic steps and the optimizer counted {critic_steps}: no epsilon can be "
            "stated; train again in a new --run_dir"
        )
    figures = _figures(stretches, delta)
    spent = math.inf if figures["epsilon"] is None else figures["epsilon"]
    if budget_epsilon is not None and not spent <= budget_epsilon:
        raise ValueError(
            f"epsilon {spent:.4g} exceeds the budget --epsilon={budget_epsilon:g}; train again in a new --run_dir"
        )
    return _with_headline(
        {
            "version": STATEMENT_VERSION,
            "released": GENERATOR,
            **(_void(figures) if void_reasons else figures),
            "budget_epsilon": budget_epsilon,
            "unit": unit,
            "critic_steps": critic_steps,
            "mechanism": [_mechanism(stretch) for stretch in stretches],
            "label_policy": None,
            "public_sources": list(public_sources),
            "void_reasons": list(void_reasons),
            "selected_on_private_data": list(selected_on_private_data),
            "not_protected": list(not_protected),
            "random_number_caveats": list(RANDOM_NUMBER_CAVEATS),
            "data_set": None,
            "files": {},
        }
    )


def dataset_statement(
    model_statement: Mapping[str, Any], data_set: Mapping[str, Any], policy: LabelPolicy
) -> dict[str, Any]:
    """States what a data set costs that a generator drew: the generator's cost, and that of its labels.

    Formal guarantee: the stretches of the generator's statement are priced again, composed with the Gaussian
    release of the class histogram if the labels come from one. Drawing is post-processing.

    Args:
      model_statement: of the generator, see `privacy_statement`.
      data_set: what was drawn: `name`, `format`, `num_examples`, `image_shape`, `class_names`, `seed`.
      policy: where the labels come from.

    Returns:
      A statement, as from `privacy_statement`, without digests yet.

    Raises:
      ValueError: the generator's statement does not follow the schema.
    """
    problems = validate_statement(model_statement)
    if problems or model_statement["released"] != GENERATOR:
        reason = problems[0] if problems else "it is not a generator's"
        raise ValueError(
            f"the model's privacy.json cannot be built on ({reason}); export the model again with bin/train"
        )
    unprotected = (_DECLARED_HISTOGRAM,) if policy.kind == "declared" else ()
    caveats = (_HISTOGRAM_CAVEAT,) if policy.kind == "noised" else ()
    statement = {
        **model_statement,
        "released": DATA_SET,
        "label_policy": dataclasses.asdict(policy),
        "not_protected": [*model_statement["not_protected"], *unprotected],
        "random_number_caveats": [*model_statement["random_number_caveats"], *caveats],
        "data_set": dict(data_set),
    }
    return _with_headline({**statement, **repriced(statement)})


def repriced(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a statement, computed from its mechanisms alone."""
    stretches = stated_stretches(statement)
    policy = label_policy(statement)
    histogram = None if policy is None else policy.stretch()
    if histogram is not None:
        stretches.append(histogram)
    figures = _figures(stretches, statement["delta"])
    return _void(figures) if statement["void_reasons"] else figures


def stated_stretches(statement: Mapping[str, Any]) -> list[accounting.Stretch]:
    """What ran, as a statement has it; a class histogram is not among it."""
    return [
        accounting.Stretch(**{k: v for k, v in fields.items() if k != "mechanism"})
        for fields in statement["mechanism"]
    ]


def label_policy(statement: Mapping[str, Any]) -> Optional[LabelPolicy]:
    """Where the labels of a data set come from; None for a generator."""
    fields = statement["label_policy"]
    if fields is None:
        return None
    return LabelPolicy(fields["kind"], tuple(fields["probabilities"]), fields["noise_multiplier"])


def _figures(stretches: Sequence[accounting.Stretch], delta: float) -> dict[str, Any]:
    # Rounded to digits that people can read; each is priced at the delta that is stated.
    deltas = [delta, *(float(f"{delta / part:.12g}") for part in (10, 100))]
    rows = [accounting.spent(stretches, each) for each in deltas]
    spent = rows[0]
    return {
        "guarantee": "formal" if spent.is_meaningful else "none",
        "epsilon": _finite(spent.epsilon),
        "delta": delta,
        "epsilon_rdp": _finite(spent.rdp_epsilon),
        "epsilons": [
            {
                "delta": row.delta,
                "epsilon": _finite(row.epsilon),
                "epsilon_rdp": _finite(row.rdp_epsilon),
                "accountant": row.accountant,
            }
            for row in rows
        ],
        "kl_bound": _finite(accounting.kl_bound(stretches)),
        "neighbouring_relation": spent.relation,
        "accountant": {
            "name": spent.accountant,
            "library": "dp-accounting",
            "version": spent.version,
        },
    }


def _void(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a release that has no guarantee, whatever its mechanisms cost."""
    nothing = {"epsilon": None, "epsilon_rdp": None}
    rows = [{**row, **nothing} for row in figures["epsilons"]]
    return {**figures, **nothing, "epsilons": rows, "kl_bound": None, "guarantee": "none"}


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None


def _mechanism(stretch: accounting.Stretch) -> dict[str, Any]:
    return {"mechanism": "gaussian", **dataclasses.asdict(stretch)}


def _with_headline(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement headed by its line for people, in the types that reading the file gives."""
    rest = {key: value for key, value in statement.items() if key != "headline"}
    return json.loads(json.dumps({"headline": headline(statement), **rest}, allow_nan=False))


def headline(statement: Mapping[str, Any]) -> str:
    """The first line for people: whether there is a guarantee, which, and for whom."""
    if statement["void_reasons"]:
        reasons = "; ".join(statement["void_reasons"])
        return f"VOID: {reasons}. This release carries no privacy guarantee."
    epsilon, unit = statement["epsilon"], statement["unit"]
    if epsilon is None:
        return (
            "No formal privacy guarantee: some or all critic steps ran without noise, so epsilon is "
            "unbounded."
        )
    figures = f"epsilon = {epsilon:.4g} at delta = {statement['delta']:g}"
    if statement["guarantee"] != "formal":
        return f"No useful worst-case guarantee: {figures} is too large to protect {unit}."
    policy = statement["label_policy"]
    if policy is not None and policy["kind"] == "noised":
        figures += ", the noised class histogram included"
    but = ""
    if statement["selected_on_private_data"]:
        but = " The choices listed as selected on private data are not covered."
    relation = statement["neighbouring_relation"]
    return f"Differentially private for {unit} ({relation}): {figures}.{but}"


def validate_statement(statement: Any) -> list[str]:
    """What in a statement does not follow the schema, one line each; empty when all does."""
    try:
        json.dumps(statement, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return [f"$: no JSON ({error})"]
    errors = sorted(
        _validator().iter_errors(statement), key=lambda error: list(map(str, error.path))
    )
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


@functools.cache
def _validator() -> Any:
    import jsonschema  # training states without validating, and starts sooner

    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)
