#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often a new loss exceeds the bounds of `tfartgen/chebyshev.py`, beside gamma.

python tests/benchmarks/chebyshev_coverage.py

Each repeat draws N losses and takes the exact probability that a new one exceeds a bound. The
finite-sample forms promise that its mean over repeats is at most gamma, and nothing of one repeat,
so both are shown. A population is N + 1 records of which one is held out, each in turn: its mean is
exact.
"""

from __future__ import annotations

import argparse
import time

import _report
import numpy as np
from scipy import stats

from tfartgen import chebyshev, environment
from tfartgen.evaluation_tables import Table, percent

GAMMAS = (0.01, 0.05, 0.1, 0.2)
COUNTS = (100, 10_000)
DISTRIBUTIONS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "Pareto, shape 2.1": stats.pareto(2.1),
    "Student, 2.5 degrees": stats.t(2.5),
}
#: Rare losses of 1 among 0: probability, N and gamma. The first two gammas are below 1 / (N + 1).
RARE = ((0.015, 10, 0.01), (0.0015, 100, 0.001), (0.011, 100, 0.01), (0.02, 100, 0.015))
#: Losses of 1 among 0, N and gamma, which is between 1 / (N + 1) and 2 / (N + 1).
POPULATIONS = ((1, 100, 0.01), (2, 10, 0.13), (2, 100, 0.015), (2, 1000, 0.0015))
BARS = {"mean_exceedance_of_finite_sample_forms_over_gamma": 1.0}
FINITE_SAMPLE = ("saw_yang_mo", "one_sided")


def bounds_of(losses, gamma):
    """Every bound by its name; None where gamma is refused."""
    moments = np.mean(losses), np.std(losses, ddof=1)
    plug_in = {f.__name__: f(*moments, gamma) for f in (chebyshev.chebyshev, chebyshev.cantelli)}
    refused = gamma < chebyshev.smallest_gamma(len(losses))
    exact = {
        name: None if refused else getattr(chebyshev, name)(losses, gamma) for name in FINITE_SAMPLE
    }
    return {**plug_in, **exact}


def draws(distribution, count, repeats, seed):
    """Samples of N losses, each with the probability of a new loss above a limit."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        yield distribution.rvs(size=count, random_state=rng), distribution.sf


def held_out(population):
    """Each record of a population in turn is the new one."""
    for i, loss in enumerate(population):
        yield np.delete(population, i), loss.__gt__


def rows_of(name, samples, gammas):
    """A row for each gamma, from the same samples."""
    seen = {gamma: {} for gamma in gammas}
    for losses, tail in samples:
        for gamma in gammas:
            for bound, limit in bounds_of(losses, gamma).items():
                chances = seen[gamma].setdefault(bound, [])
                if limit is not None:
                    chances.append(float(tail(limit)))
    rows = []
    for gamma, chances in seen.items():
        figures = {bound: _figures(values, gamma) for bound, values in chances.items()}
        rows.append({"losses": name, "count": len(losses), "gamma": gamma, **figures})
    return rows


def _figures(chances, gamma):
    if not chances:
        return None
    above = np.mean(np.array(chances) > gamma)
    return {"mean_exceedance": float(np.mean(chances)), "repeats_above_gamma": float(above)}


def measure(repeats):
    """All rows of the table."""
    rows = []
    for seed, (name, distribution) in enumerate(DISTRIBUTIONS.items()):
        for count in COUNTS:
            rows += rows_of(name, draws(distribution, count, repeats, seed), GAMMAS)
    for seed, (probability, count, gamma) in enumerate(RARE):
        samples = draws(stats.bernoulli(probability), count, repeats, seed)
        rows += rows_of(f"1 with probability {probability}, else 0", samples, (gamma,))
    for ones, count, gamma in POPULATIONS:
        population = np.repeat([0.0, 1.0], [count + 1 - ones, ones])
        name = f"{count + 1} records: {ones} at 1, else 0"
        rows += rows_of(name, held_out(population), (gamma,))
    return rows


def table(rows):
    """Mean exceedance, in brackets the share of repeats above gamma; bold: the mean is above."""
    header = ("losses", "N", "gamma", "plug-in Chebyshev", "Cantelli", "Saw-Yang-Mo", "one-sided")
    names = ("chebyshev", "cantelli", *FINITE_SAMPLE)
    lines = [
        (
            row["losses"],
            f"{row['count']:,}",
            f"{row['gamma']:g}",
            *(_cell(row[name], row["gamma"]) for name in names),
        )
        for row in rows
    ]
    return Table(header, tuple(lines))


def _cell(figures, gamma):
    if figures is None:
        return "refused"
    mean = figures["mean_exceedance"]
    shown = f"{mean:.3g} ({percent(figures['repeats_above_gamma'])}%)"
    return f"**{shown}**" if mean > gamma else shown


def page(rows, repeats):
    """The Markdown file."""
    where = environment.describe()
    return (
        "# Coverage of the bounds on a new loss\n\n"
        f"`python tests/benchmarks/chebyshev_coverage.py`, {where['machine']}, {where['date']}; "
        f"{repeats:,} repeats of each distribution.\n\n"
        "A cell is the mean probability that a new loss exceeds the bound, and in brackets the\n"
        "share of repeats in which it is above gamma. **Bold**: the mean is above gamma, the "
        "bound\ndoes not hold. Refused: N losses support no gamma below 1 / (N + 1).\n\n"
        f"{table(rows).markdown()}\n"
    )


def worst_ratio(rows):
    """The largest mean exceedance of the finite-sample forms, over gamma."""
    return max(
        row[name]["mean_exceedance"] / row["gamma"]
        for row in rows
        for name in FINITE_SAMPLE
        if row[name]
    )


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="samples of each distribution")
    repeats = parser.parse_args().repeats
    start = time.monotonic()
    rows = measure(repeats)
    print(table(rows).text())
    worst = worst_ratio(rows)
    bar = BARS["mean_exceedance_of_finite_sample_forms_over_gamma"]
    print(f"finite-sample forms: mean exceedance at most {worst:.3f} gamma; bar: at most {bar:g}")
    _report.write(
        "chebyshev_coverage",
        {
            "bars": BARS,
            "repeats": repeats,
            "wall_seconds": time.monotonic() - start,
            "worst_ratio": worst,
            "rows": rows,
        },
    )
    (_report.RESULTS / "chebyshev_coverage.md").write_text(page(rows, repeats), encoding="utf-8")


if __name__ == "__main__":
    main()
