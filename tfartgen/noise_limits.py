# SPDX-License-Identifier: Apache-2.0
"""How the noise that is drawn (`noise`) differs from the Gaussian that is priced, and what that costs. No TensorFlow.

Two kinds of draws have two kinds of limits:

* A critic's draw `+-Phi^-1((k + 1/2) 2^-65)`, k of 64 bits, never exceeds `LIMIT` standard deviations. An output that
  only a longer draw could explain gives a record away.
* Exact discrete Gaussian noise has no limit, but lies on a grid. Privacy loss distributions price a continuous
  Gaussian; rounded to the grid that is post-processing, and differs from the discrete one by a small total variation.
"""

from __future__ import annotations

import math

from scipy import stats

#: Random bits of a critic's draw: one for the sign, the others for the size.
DRAW_BITS = 65

#: Probability that a Gaussian exceeds `LIMIT`, on one side: of the largest draw, half of its bin.
_TAIL = 2.0 ** -(DRAW_BITS + 1)

#: The largest draw, in standard deviations: 9.23.
LIMIT = float(-stats.norm.ppf(_TAIL))

#: Steps of the integer grid to a length of one, where sums are released exactly. Squares of lengths fit in int64.
GRID = 2**31


def impossible(noise_multiplier: float, coordinates: int) -> float:
    """Probability of an output of one noisy step that is impossible for the neighbouring data.

    A record moves the sum by `a`, of length at most `m = 1 / sigma` in standard deviations. An output is impossible without
    that record if in some coordinate j a draw lies in the last `|a_j|` below the limit z. With `h(a) = Phi(a - z)` that
    has at most the probability `sum_j h(|a_j|) - h(0)`. For `m <= z - 1` the function `(h(a) - h(0) - h'(0) a) / a^2`
    grows with a, since h''' is not negative; so does the bound, which is the sum over all coordinates of the linear
    part, at most `h'(0) sqrt(d) m` (Cauchy and Schwarz), and of the rest, at most that of one coordinate with all of m.

    Formal guarantee: an upper bound, whatever the record; it does not count on sampling.

    Args:
      noise_multiplier: sigma, noise standard deviation over clip norm; above zero.
      coordinates: d, numbers that are noised in a step.

    Returns:
      A probability; 1 where noise is so small that nothing can be said.
    """
    if not noise_multiplier * (LIMIT - 1.0) >= 1.0:
        return 1.0
    move = 1.0 / noise_multiplier
    slope = float(stats.norm.pdf(LIMIT))
    rest = float(stats.norm.cdf(move - LIMIT)) - _TAIL - slope * move
    return min(1.0, slope * math.sqrt(coordinates) * move + max(rest, 0.0))


def beyond_limit(coordinates: int) -> float:
    """Probability that of so many Gaussian draws one exceeds `LIMIT` (union bound)."""
    return min(1.0, 2.0 * _TAIL * coordinates)


def rounding_variation(scale: float, coordinates: int) -> float:
    """Total variation between discrete Gaussian noise and a continuous Gaussian rounded to whole numbers.

    In one coordinate, at most `1 / (16 s^2)`: the midpoint rule misses the Gaussian density's integral over a cell by
    at most an eighth of the integral of |f''| there (its Peano kernel, `(1/2 - |t|)^2 / 2`, is at most 1/8), and
    the integral of |f''| over the line is four times the maximum of |f'|, `4 exp(-1/2) / (sqrt(2 pi) s^2)`. Half of the sum
    of the absolute differences is at most `0.0605 / s^2`; that the discrete one is normalised by a sum in place of an integral
    adds less than `2 exp(-2 pi^2 s^2)` (Poisson summation; Canonne, Kamath and Steinke 2020, arXiv 2004.00010, fact 18).

    Formal guarantee: an upper bound for every scale of at least one.

    Args:
      scale: s, of both, in steps of the grid.
      coordinates: numbers that are noised, independently.

    Returns:
      A bound on the total variation of all coordinates together, at most one.
    """
    if not scale >= 1.0:
        return 1.0
    return min(1.0, coordinates / (16.0 * scale**2))
