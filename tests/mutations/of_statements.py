# SPDX-License-Identifier: Apache-2.0
"""Edits of what statements and reports say."""

from __future__ import annotations

from mutation import Mutation

_STATEMENT, _STANDING = "tfartgen/statement.py", "tfartgen/report_standing.py"

_BESIDE_N = ("tests/test_deltas.py", "-k", "promise_19")
_TOGETHER = ("tests/test_report_releases.py", "-k", "promise_12 or promise_20")
_SENTENCES = "tests/test_report_sentences.py"

MUTATIONS = (
    Mutation(
        12,
        "a void release is priced together with others",
        _STATEMENT,
        'if statement["void_reasons"] or any(',
        "if any(",
        _TOGETHER,
    ),
    Mutation(
        12,
        "noise of version 1 has a price where it is another release's",
        _STATEMENT,
        "for each in (statement, *releases)",
        "for each in (statement,)",
        _TOGETHER,
    ),
    Mutation(
        12,
        "all releases together are priced without the noised class histogram",
        _STATEMENT,
        "stretches = _all_stretches(statement)\n    for each in releases:",
        "stretches = stated_stretches(statement)\n    for each in releases:",
        _TOGETHER,
    ),
    Mutation(
        12,
        "a small epsilon is formal at whatever delta",
        _STATEMENT,
        '"formal" if spent.is_meaningful else "none"',
        '"formal" if spent.epsilon <= accounting.MEANINGFUL_EPSILON else "none"',
        _BESIDE_N,
    ),
    Mutation(
        12,
        "a page repeats the guarantee of version 1 as one that holds",
        _STANDING,
        "return BEFORE",
        'return FORMAL if stated["guarantee"] == "formal" else USELESS',
        (_SENTENCES, "-k", "true_of_its_statement and 0.1"),
    ),
    Mutation(
        19,
        "a delta of exactly 1 / n is called formal",
        "tfartgen/deltas.py",
        "delta < 1 / num_records",
        "delta <= 1 / num_records",
        _BESIDE_N,
    ),
    Mutation(
        20,
        "the joint epsilon of a headline is rounded to nearest",
        _STATEMENT,
        "epsilon = {upwards(joint)} at delta",
        "epsilon = {joint:.4g} at delta",
        _TOGETHER,
    ),
    Mutation(
        20,
        "epsilons of a page are rounded to nearest",
        _STANDING,
        '"none" if value is None else upwards_with_commas(value)',
        '"none" if value is None else f"{value:.3g}"',
        (_SENTENCES, "-k", "below_the_exact_one and histogram"),
    ),
    Mutation(
        20,
        "of a run without noise a page says that noise was added and every step counted",
        _STANDING,
        "return NOISELESS",
        "return LIMITED",
        (_SENTENCES, "-k", "noiseless"),
    ),
    Mutation(
        20,
        "the warning of a large delta is dropped from the page",
        "tfartgen/report_guarantee.py",
        'if each not in stated["headline"]',
        'if each in stated["headline"]',
        (_SENTENCES, "-k", "true_of_its_statement and delta"),
    ),
    Mutation(
        20,
        "members beside controls are told by the ratio and not by its interval",
        "tfartgen/report_summary.py",
        "elif low <= 1:",
        'elif document["members_to_controls"] <= 1:',
        (_SENTENCES, "-k", "told_by_their_interval"),
    ),
    Mutation(
        20,
        "a release above its budget is said to be within it",
        "tfartgen/report_guarantee.py",
        "if report_standing.over_budget(stated):",
        'if stated["epsilon"] is None:',
        (_SENTENCES, "-k", "histogram"),
    ),
    Mutation(
        20,
        "a joint epsilon of no use is told like a guarantee",
        "tfartgen/report_releases.py",
        "if joint > accounting.MEANINGFUL_EPSILON:",
        "if joint == float('inf'):",
        (_SENTENCES, "-k", "true_of_its_statement and without"),
    ),
    Mutation(
        20,
        "a bound of ideal noise is called proven",
        "tfartgen/report_evidence.py",
        'if by == "proof" and (proven is None or not proven.proven):',
        'if by == "proof" and proven is None:',
        (_SENTENCES, "-k", "called_proven"),
    ),
    Mutation(
        18,
        "the private page can be read by whoever the umask lets",
        "tfartgen/report.py",
        "private, private=True",
        "private",
        ("tests/test_report.py", "-k", "promise_18"),
    ),
)
