# SPDX-License-Identifier: Apache-2.0
"""The privacy statement: what was released, by which mechanisms, at what cost, and what is not covered.

A statement is a dictionary of plain values, see `schemas/privacy.schema.json`. It carries all that its own figures are
computed from, so that anyone can price it again. Version 2 takes the limits of draws off delta; version 1 is what tfartgen 0.1
stated of its own draws, which did not keep it (SECURITY.md). Pure Python; no TensorFlow.
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

from tfartgen import _validate, accounting, deltas, ledger, noise_limits
from tfartgen.artificial import LabelPolicy
from tfartgen.rounding import given, upwards

GENERATOR, DATA_SET = "generator", "data set"

#: What no statement of ours covers, unless the caller says otherwise.
NOT_PROTECTED = (
    "the number of training records",
    "the shape of the images, the number of classes and their names",
    "people with several records: the guarantee is for one record, and grows with their number",
    "records that were held out: training did not read them, so the guarantee does not speak of them",
    "what the records have in common, which is what the generator is for",
    "whatever else is released from the same records: another model, or another noised class histogram, adds to "
    "the cost",
    "that other counted releases share records with this one, where the statement lists some",
)

#: How exact noise and a critic's draws differ from what is priced.
EXACT_CAVEATS = (
    "noise on released sums is exact, by OpenDP; it is as unpredictable as the operating system's random numbers",
)
CRITIC_CAVEATS = (
    "noise, latents and batches of a critic's steps come from a counter-based generator (Philox) with keys of 128 bits of the "
    "operating system: statistically sound, not cryptographic",
    "a critic's noise is a Gaussian on the grid of floating-point numbers, which approximates the continuous one that the "
    f"accountant prices (Mironov 2012); that it ends at {noise_limits.LIMIT:.1f} standard deviations is taken off delta",
    "a critic's sums of clipped gradients are computed in floating point, and may exceed the clip norm by a relative 1e-5",
)

#: Of statements of version 1.
_CAVEATS_1 = (
    "noise and sampling come from TensorFlow's counter-based generators, keyed by the operating system: "
    "statistically sound, not cryptographic",
    "noise is a floating-point Gaussian, which approximates the continuous one that the accountant prices "
    "(Mironov 2012)",
)

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
    version: int = ledger.VERSION,
    num_records: Optional[int] = None,
    lost_steps: int = 0,
    earlier: Optional[Mapping[str, Any]] = None,
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
      version: the ledger's; 1 for what ran before the limits of draws were priced.
      num_records: n, the unit's public number in training, against which delta is held; None where it is not known.
      lost_steps: critic steps of the ledger whose work is lost (a damaged checkpoint, say), and which were spent all the same.
      earlier: what else was released from the same records, see `budget_book.Reservation.earlier`; None if nobody counted.

    Returns:
      A dictionary of plain values, ready for `json.dump`; no infinity or NaN in it, null instead.

    Raises:
      ValueError: the ledger's steps are not the optimizer's, epsilon exceeds the budget, or version 2 is to be stated of
        stretches that do not say how many coordinates they noised.
    """
    _validate.probability("delta", delta)
    if version != 1 and any(s.steps and s.coordinates is None for s in stretches):
        raise ValueError(
            "a stretch without coordinates has no price in this version; it is tfartgen 0.1's (SECURITY.md): train again"
        )
    recorded = accounting.Ledger(stretches).steps
    if recorded != critic_steps + lost_steps:
        raise ValueError(
            f"the ledger has {recorded} critic steps and the optimizer counted {critic_steps + lost_steps}: no epsilon can be "
            "stated; train again in a new --run_dir"
        )
    figures = _figures(stretches, delta, version, num_records)
    spent = math.inf if figures["epsilon"] is None else figures["epsilon"]
    if budget_epsilon is not None and not spent <= budget_epsilon:
        raise ValueError(
            f"epsilon {upwards(spent)} exceeds the budget --epsilon={budget_epsilon:g}; train again in a new --run_dir"
        )
    return _with_headline(
        {
            "version": version,
            "released": GENERATOR,
            **(_void(figures) if void_reasons else figures),
            "budget_epsilon": budget_epsilon,
            "unit": unit,
            **({} if num_records is None else {"num_records": num_records}),
            **_warned(delta, num_records),
            "critic_steps": recorded,
            "mechanism": [stretch.as_json() for stretch in stretches],
            "label_policy": None,
            "public_sources": list(public_sources),
            "void_reasons": list(void_reasons),
            "selected_on_private_data": list(selected_on_private_data),
            "not_protected": list(not_protected),
            "random_number_caveats": _caveats(stretches, version),
            "data_set": None,
            "files": {},
            **({} if earlier is None else {"earlier_releases": dict(earlier)}),
        }
    )


def dataset_statement(
    model_statement: Mapping[str, Any],
    data_set: Mapping[str, Any],
    policy: LabelPolicy,
    counted: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """States what a data set costs that a generator drew: the generator's cost, and that of its labels.

    Formal guarantee: the stretches of the generator's statement are priced again, composed with the Gaussian
    release of the class histogram if the labels come from one. Drawing is post-processing.

    Args:
      model_statement: of the generator, see `privacy_statement`.
      data_set: what was drawn: `name`, `format`, `num_examples`, `image_shape`, `class_names`, `seed`.
      policy: where the labels come from.
      counted: what the budget book knows of these records besides, where it was asked (`budget_book.BudgetBook.earlier`).

    Returns:
      A statement, as from `privacy_statement`, without digests yet. It names no budget that its epsilon exceeds.

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
    caveats = list(model_statement["random_number_caveats"])
    if policy.kind == "noised":
        caveats += [caveat for caveat in EXACT_CAVEATS if caveat not in caveats]
    statement = {
        **model_statement,
        "released": DATA_SET,
        "label_policy": dataclasses.asdict(policy),
        "not_protected": [*model_statement["not_protected"], *unprotected],
        "random_number_caveats": caveats,
        "data_set": dict(data_set),
    }
    if counted is not None:
        stated = model_statement.get("earlier_releases")
        statement["earlier_releases"] = dict(counted) if stated is None else _both(stated, counted)
    statement = {**statement, **repriced(statement)}
    budget, epsilon = statement["budget_epsilon"], statement["epsilon"]
    within = budget is None or (epsilon is not None and epsilon <= budget)
    if policy.kind == "noised" and not within:
        statement["budget_epsilon"] = None
    return _with_headline(statement)


def _both(stated: Mapping[str, Any], counted: Mapping[str, Any]) -> dict[str, Any]:
    """What the book counts now, and what was counted when the generator was exported and is not in that book."""
    here, there = (
        [step for each in side["releases"] for step in map(_stretch, each["mechanism"])]
        for side in (counted, stated)
    )
    missing = ledger.excess(there, here)
    # Steps do not say of which version they are: if one is not proven, none is.
    version = min([each["version"] for each in stated["releases"]], default=ledger.VERSION)
    more = {
        "state": "settled",
        "version": version,
        "mechanism": [step.as_json() for step in missing],
    }
    return {**counted, "releases": [*counted["releases"], *([more] if missing else [])]}


def _stretch(fields: Any) -> accounting.Stretch:
    return accounting.Stretch.from_json(fields)


def _warned(delta: float, num_records: Optional[int]) -> dict[str, Any]:
    warning = deltas.warning(delta, num_records)
    return {} if warning is None else {"warnings": [warning]}


def repriced(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a statement, computed from its mechanisms alone."""
    stretches = _all_stretches(statement)
    figures = _figures(
        stretches, statement["delta"], statement["version"], statement.get("num_records")
    )
    return _void(figures) if statement["void_reasons"] else figures


def joint_epsilon(statement: Mapping[str, Any]) -> Optional[float]:
    """Of this release and all earlier ones that it counts, at the same delta: their ledgers compose, epsilons do not.

    Returns:
      None where there is none: a step without noise, noise small beside the limit of its draws, a release that is void, or one
      of tfartgen 0.1, whose noise has no proven price.
    """
    earlier = statement["earlier_releases"]
    releases = earlier["releases"]
    if statement["void_reasons"] or any(each["version"] == 1 for each in (statement, *releases)):
        return None
    stretches = _all_stretches(statement)
    for each in releases:
        stretches += [accounting.Stretch.from_json(fields) for fields in each["mechanism"]]
    return _finite(accounting.epsilon(stretches, statement["delta"]))


def _all_stretches(statement: Mapping[str, Any]) -> list[accounting.Stretch]:
    """What ran, the class histogram too."""
    policy = label_policy(statement)
    histogram = None if policy is None else policy.stretch()
    return [*stated_stretches(statement), *([] if histogram is None else [histogram])]


def stated_stretches(statement: Mapping[str, Any]) -> list[accounting.Stretch]:
    """What ran, as a statement has it; a class histogram is not among it."""
    return [accounting.Stretch.from_json(fields) for fields in statement["mechanism"]]


def stated_before(statement: Mapping[str, Any]) -> Optional[str]:
    """What to say of a statement of version 1, whose figures its release did not keep; None of a later one."""
    return "stated by 0.1, see SECURITY.md" if statement["version"] == 1 else None


def label_policy(statement: Mapping[str, Any]) -> Optional[LabelPolicy]:
    """Where the labels of a data set come from; None for a generator."""
    fields = statement["label_policy"]
    if fields is None:
        return None
    return LabelPolicy(fields["kind"], tuple(fields["probabilities"]), fields["noise_multiplier"])


def _caveats(stretches: Sequence[accounting.Stretch], version: int) -> list[str]:
    """Of what ran: exact noise has no caveat for floating point."""
    if version == 1:
        return list(_CAVEATS_1)
    kinds = {stretch.grid is None for stretch in stretches if stretch.steps}
    exact = EXACT_CAVEATS if False in kinds else ()
    critic = CRITIC_CAVEATS if True in kinds or not kinds else ()
    return [*exact, *critic]


def _figures(
    stretches: Sequence[accounting.Stretch],
    delta: float,
    version: int,
    num_records: Optional[int],
) -> dict[str, Any]:
    if version == 1:
        stretches = [dataclasses.replace(s, coordinates=None, grid=None) for s in stretches]
    # Rounded to digits that people can read; each is priced at the delta that is stated.
    shown = [delta, *(float(f"{delta / part:.12g}") for part in (10, 100))]
    rows = [accounting.spent(stretches, each, num_records) for each in shown]
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
        **({} if version == 1 else _of_limits(spent)),
        "kl_bound": _kl_bound(stretches, spent, version),
        "neighbouring_relation": spent.relation,
        "accountant": {
            "name": spent.accountant,
            "library": "dp-accounting",
            "version": spent.version,
        },
    }


def _kl_bound(
    stretches: Sequence[accounting.Stretch], spent: accounting.Spent, version: int
) -> Optional[float]:
    """None where the limits of the draws leave no epsilon: that of ideal noise says nothing of what ran then."""
    limited = version > 1 and not math.isfinite(spent.epsilon)
    return None if limited else _finite(accounting.kl_bound(stretches))


def _of_limits(spent: accounting.Spent) -> dict[str, Any]:
    return {
        "taken_off_delta": spent.taken_off_delta,
        "ideal_epsilon": _finite(spent.ideal_epsilon),
    }


def _void(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a release that has no guarantee, whatever its mechanisms cost."""
    nothing = {"epsilon": None, "epsilon_rdp": None}
    rows = [{**row, **nothing} for row in figures["epsilons"]]
    if "ideal_epsilon" in figures:
        nothing["ideal_epsilon"] = None
    return {**figures, **nothing, "epsilons": rows, "kl_bound": None, "guarantee": "none"}


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None


def _with_headline(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement headed by its line for people, in the types that reading the file gives."""
    rest = {key: value for key, value in statement.items() if key != "headline"}
    if "earlier_releases" in rest:
        joint = {"joint_epsilon": joint_epsilon(rest), "joint_delta": rest["delta"]}
        rest = {**rest, "earlier_releases": {**rest["earlier_releases"], **joint}}
        statement = rest
    return json.loads(json.dumps({"headline": headline(statement), **rest}, allow_nan=False))


def headline(statement: Mapping[str, Any]) -> str:
    """The first line for people: whether there is a guarantee, which, and for whom."""
    if statement["void_reasons"]:
        reasons = "; ".join(statement["void_reasons"])
        return f"VOID: {reasons}. This release carries no privacy guarantee."
    epsilon, unit = statement["epsilon"], statement["unit"]
    if epsilon is None:
        why = "some or all critic steps ran without noise"
        if statement.get("ideal_epsilon") is not None:
            why = (
                f"noise was so small that the limit of its draws, {noise_limits.LIMIT:.1f} standard deviations, takes all of "
                f"delta = {statement['delta']:g} (ideal noise would give {upwards(statement['ideal_epsilon'])})"
            )
        return f"No formal privacy guarantee: {why}, so epsilon is unbounded."
    figures = f"epsilon = {upwards(epsilon)} at delta = {given(statement['delta'])}"
    warning = deltas.warning(statement["delta"], statement.get("num_records"))
    if not deltas.guarantees(statement["delta"], statement.get("num_records")):
        return f"No formal privacy guarantee: {warning}. By the accountant, {figures}."
    if statement["guarantee"] != "formal":
        return f"No useful worst-case guarantee: {figures} is too large to protect {unit}."
    policy = statement["label_policy"]
    if policy is not None and policy["kind"] == "noised":
        figures += ", the noised class histogram included"
    but = ""
    if statement["selected_on_private_data"]:
        but = " The choices listed as selected on private data are not covered."
    relation = statement["neighbouring_relation"]
    return f"Differentially private for {unit} ({relation}): {figures}.{together(statement)}{but}"


def together(statement: Mapping[str, Any]) -> str:
    """A sentence on this and earlier releases from the same records, behind a blank; empty where there are none."""
    earlier = statement.get("earlier_releases")
    if earlier is None or not earlier["releases"]:
        return ""
    releases, joint = earlier["releases"], earlier["joint_epsilon"]
    others = f"what else these records have spent, or may have ({len(releases)} listed)"
    if joint is None:
        old = any(each["version"] == 1 for each in releases)
        why = "some of it is of tfartgen 0.1 and not proven" if old else "epsilon is unbounded"
        return f" Together with {others} there is no guarantee: {why}."
    return f" Together with {others}: epsilon = {upwards(joint)} at delta = {given(earlier['joint_delta'])}."


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
