#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often a new record's true loss is above mu where some records are saturated, beside gamma.

python tests/benchmarks/saturated_coverage.py

A share of each population is saturated: such a record's true loss is beyond any bound, and reported
as 0. Each repeat draws N records, asks `privacy_estimate` for mu, and takes the exact probability
that the true loss of a new record is above it. Beside it is the rule that was in force before: mean
and deviation of all losses as reported, the whole gamma, refused where the share that is seen
exceeds gamma.
"""

from __future__ import annotations

import argparse
import time

import _report
import numpy as np
from scipy import stats

from tfartgen import chebyshev, environment, privacy_estimate
from tfartgen.evaluation_tables import Table

SHARES = (0.0, 0.01, 0.04, 0.1)
GAMMAS = (0.05, 0.2)
COUNTS = (200, 1000, 2000)
BOUNDS = ("saw_yang_mo", "one_sided")
#: Losses of 1 among 0, as a share of the gamma that the bounds are for: what they are tight for.
TIGHT = (0.8, 0.9, 0.95)
BARS = {
    "new_rule_above_mu_over_gamma_given_mu": 1.0,
    "new_rule_above_mu_over_gamma_of_all_draws": 1.0,
    "draws_with_mu_whose_limit_is_below_the_share": 0.01,
}


def new_rule(losses, saturated, gamma):
    """What is in force: bounds by name; none where gamma is refused."""
    return _per_example(privacy_estimate._mu(losses, saturated, gamma, 1)["bounds"])


def old_rule(losses, saturated, gamma):
    """What was: saturated losses are in the moments, at what is reported."""
    if saturated.mean() > gamma or gamma < chebyshev.smallest_gamma(len(losses)):
        return {}
    return {name: getattr(chebyshev, name)(losses, gamma) for name in BOUNDS}


def _per_example(bounds):
    return {name: bounds[name]["per_example"] for name in BOUNDS if bounds}


RULES = {"new": new_rule, "old": old_rule}


def populations(share, count, gamma):
    """Losses of unsaturated records: a smooth one, and those for which the bounds of either rule are tight."""
    left = chebyshev.gamma_left(gamma, count, round(share * count))
    rare = [of * tight for of in {gamma, left} for tight in TIGHT if of > 0]
    ones = {f"1 with probability {p:.3g}, else 0": stats.bernoulli(p) for p in sorted(rare)}
    return {"exponential": stats.expon(), **ones}


def measure(repeats):
    """A row for each share, number of records, gamma and population."""
    rows = []
    for share in SHARES:
        for gamma in GAMMAS:
            for count in COUNTS:
                for name, losses in populations(share, count, gamma).items():
                    rng = np.random.default_rng(len(rows))
                    cell = {"share": share, "gamma": gamma, "count": count, "losses": name}
                    rows.append({**cell, **_simulated(losses, share, count, gamma, repeats, rng)})
    return rows


def _simulated(distribution, share, count, gamma, repeats, rng):
    """Figures of both rules, from the same draws."""
    above, lefts = {rule: [] for rule in RULES}, []
    for _ in range(repeats):
        saturated = rng.random(count) < share
        losses = np.where(saturated, 0.0, distribution.rvs(count, random_state=rng))
        for name, rule in RULES.items():
            limits = rule(losses, saturated, gamma)
            above[name].append([_chance(distribution, share, limits.get(each)) for each in BOUNDS])
        lefts.append(chebyshev.gamma_left(gamma, count, int(saturated.sum())))
    return {
        **{rule: _figures(np.array(chances)) for rule, chances in above.items()},
        "gamma_left": float(np.median(lefts)),
        "with_mu_and_limit_below_share": _misled(share, count, gamma),
    }


def _misled(share, count, gamma):
    """The exact probability that there is a mu although the limit is below the true share."""
    chance = 0.0
    for saturated in range(count):
        if not chebyshev.saturated_limit(count, saturated) < share:
            break
        left = chebyshev.gamma_left(gamma, count, saturated)
        if left >= chebyshev.smallest_gamma(count - saturated):
            chance += float(stats.binom.pmf(saturated, count, share))
    return chance


def _chance(distribution, share, limit):
    """That a new record is saturated or above the limit; NaN where there is none."""
    return np.nan if limit is None else share + (1 - share) * float(distribution.sf(limit))


def _figures(chances):
    """Of one rule: how often it refused, and how often a new loss is above mu."""
    given = ~np.isnan(chances[:, 0])
    some = given.any()
    return {
        "refused": float(1 - given.mean()),
        "above_given_mu": {
            name: float(chances[given, i].mean()) if some else None for i, name in enumerate(BOUNDS)
        },
        "above_of_all_draws": {
            name: float(np.nan_to_num(chances[:, i]).mean()) for i, name in enumerate(BOUNDS)
        },
    }


def by_cell(rows):
    """Rows that differ in the population alone, by share, gamma and N."""
    cells = {}
    for row in rows:
        cells.setdefault((row["share"], row["gamma"], row["count"]), []).append(row)
    return cells


def _worst(cell, rule, bound):
    seen = [row[rule]["above_given_mu"][bound] for row in cell]
    return max((value for value in seen if value is not None), default=None)


def table(rows):
    """The worst over populations of the share of new records above mu, where there is one."""
    header = (
        *("saturated", "gamma", "N", "gamma left", "refused", "Saw-Yang-Mo", "one-sided"),
        *("old: refused", "Saw-Yang-Mo", "one-sided"),
    )
    lines = []
    for (share, gamma, count), cell in by_cell(rows).items():
        line = [f"{share:.0%}", f"{gamma:g}", f"{count:,}", f"{cell[0]['gamma_left']:.3g}"]
        for rule in RULES:
            line.append(f"{np.mean([row[rule]['refused'] for row in cell]):.2%}")
            line += [_cell(_worst(cell, rule, bound), gamma) for bound in BOUNDS]
        lines.append(tuple(line))
    return Table(header, tuple(lines))


def _cell(above, gamma):
    if above is None:
        return "-"
    return f"**{above:.3f}**" if above > gamma else f"{above:.3f}"


def figures(rows):
    """What the bars are about, the worst of all rows; and that of the old rule."""

    def ratio(rule, kind):
        return max(
            value / row["gamma"]
            for row in rows
            for value in row[rule][kind].values()
            if value is not None
        )

    return {
        "new_rule_above_mu_over_gamma_given_mu": ratio("new", "above_given_mu"),
        "new_rule_above_mu_over_gamma_of_all_draws": ratio("new", "above_of_all_draws"),
        "draws_with_mu_whose_limit_is_below_the_share": max(
            row["with_mu_and_limit_below_share"] for row in rows
        ),
        "old_rule_above_mu_over_gamma_given_mu": ratio("old", "above_given_mu"),
        "old_rule_above_mu_over_gamma_of_all_draws": ratio("old", "above_of_all_draws"),
    }


def page(rows, repeats):
    """The Markdown file."""
    where = environment.describe()
    return (
        "# Coverage of mu where records are saturated\n\n"
        f"`python tests/benchmarks/saturated_coverage.py`, {where['machine']}, {where['date']}; {repeats:,} repeats of\n"
        "each population.\n\n"
        "A saturated record's true loss is beyond any bound, and reported as 0. A cell is the share of new records whose\n"
        "true loss is above mu, over the repeats that have a mu, for the worst of up to seven populations of the other\n"
        "losses: exponential, and rare losses of 1 that the bounds of either rule are tight for. **Bold**: more than gamma,\n"
        'mu does not hold. "-": every repeat was refused. Gamma left: the median of what the bounds are for. Old: all losses\n'
        "as reported, and the whole gamma.\n\n"
        f"{table(rows).markdown()}\n"
    )


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="samples of each population")
    repeats = parser.parse_args().repeats
    start = time.monotonic()
    rows = measure(repeats)
    print(table(rows).text())
    found = figures(rows)
    for name, value in found.items():
        bar = f"; bar: at most {BARS[name]:g}" if name in BARS else ""
        print(f"{name}: {value:.3g}{bar}")
    _report.write(
        "saturated_coverage",
        {
            "bars": BARS,
            "repeats": repeats,
            "wall_seconds": time.monotonic() - start,
            **found,
            "rows": rows,
        },
    )
    (_report.RESULTS / "saturated_coverage.md").write_text(page(rows, repeats), encoding="utf-8")


if __name__ == "__main__":
    main()
