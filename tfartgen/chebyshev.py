# SPDX-License-Identifier: Apache-2.0
"""How large a new record's loss is at most, with probability 1 - gamma, from mean and deviation.

`saw_yang_mo` and `one_sided` hold for any distribution and any number N of losses, as long as the N
and the new one are exchangeable: records drawn at random from the same ones, and gamma fixed before
their losses are seen. The probability is over the draw of all N + 1: once the N are known, that of
a larger loss may be above gamma, and only its mean over draws is not. `chebyshev` and `cantelli`
are for a mean and deviation that are known exactly.

A loss that is known only as "at least", a saturated record's, makes every bound too small: bounds
are made from the other losses, for what `gamma_left` says.

None of these bounds is a worst case, and none is differentially private with regard to the losses.
"""

from __future__ import annotations

import math
import numbers

import numpy as np
from scipy import stats

from tfartgen import _validate

#: Differences of losses up to here, times what multiplies them, stay finite.
_LARGEST = 1e300
#: Chance that the share of saturated records is above its limit.
_ERROR = 0.01


def chebyshev(mean: float, std: float, gamma: float) -> float:
    """`m + s / sqrt(gamma)`, Chebyshev's inequality with m and s put in.

    With the distribution's own mean and standard deviation, a loss exceeds it with probability at
    most gamma. With those of N losses it guarantees nothing in general: it answers gammas below
    `1 / (N + 1)` too, where no multiple of s is enough, and it can fail above, unless
    `gamma (N + 1)` is a whole number.

    Args:
      mean: of the losses, nats.
      std: their standard deviation, nats.
      gamma: probability of a larger loss.

    Raises:
      ValueError: mean or std is not finite, std is negative, or gamma is not between 0 and 1.
    """
    _checked_moments(mean, std, gamma)
    return float(mean + std / math.sqrt(gamma))


def cantelli(mean: float, std: float, gamma: float) -> float:
    """`m + s sqrt(1 / gamma - 1)`, Cantelli's one-sided inequality with m and s put in.

    Never above `chebyshev`, and with the same guarantee: of the distribution's own moments, one; of
    those of N losses, none.

    Args:
      mean: of the losses, nats.
      std: their standard deviation, nats.
      gamma: probability of a larger loss.

    Raises:
      ValueError: mean or std is not finite, std is negative, or gamma is not between 0 and 1.
    """
    _checked_moments(mean, std, gamma)
    return float(mean + std * math.sqrt(1 / gamma - 1))


def smallest_gamma(count: int) -> float:
    """`1 / (N + 1)`, the least gamma that N losses support.

    If N + 1 losses are equal but for one larger, that one is the new one with this probability, and
    neither mean nor deviation of the others tells how large it is.

    Args:
      count: N.

    Raises:
      ValueError: count is not a positive whole number.
    """
    return 1 / (_validate.positive_int("count", count) + 1)


def saturated_limit(count: int, saturated: int) -> float:
    """Upper 99% limit u of a share of records, from how many c of N records are among it.

    u solves `P(Binomial(N, u) <= c) = 0.01`: `1 - 0.01^(1 / N)` where c is 0, and 1 where it is N.
    It is never below c / N, where that probability is 1/2 or more.

    Formal guarantee: if each of the N is saturated with probability p, independently of the others,
    `P(u < p) <= 0.01`. Proof: u grows with c, so u < p is that c is one of the numbers from 0 up to
    some C with `u(C) < p`; and `P(Binomial(N, p) <= C) <= P(Binomial(N, u(C)) <= C) = 0.01`.

    Source: Clopper and Pearson 1934 (Biometrika 26).

    Args:
      count: N.
      saturated: c, from 0 to N.

    Raises:
      ValueError: not such whole numbers.
    """
    _validate.positive_int("count", count)
    if not (saturated == 0 or _validate.positive_int("saturated", saturated) <= count):
        raise ValueError(f"saturated must be at most {count}, the records, got {saturated}")
    if saturated == count:
        return 1.0
    return float(stats.beta.ppf(1 - _ERROR, saturated + 1, count - saturated))


def gamma_left(gamma: float, count: int, saturated: int) -> float:
    """`gamma - u`, u the `saturated_limit`: what a bound may be for where c of N are saturated.

    A saturated loss is known as "at least" and may be any size: the new record counts as above mu
    if it is saturated, whatever its loss. With g = gamma - u, M = N - c and L the new loss, mu is
    `one_sided` or `saw_yang_mo` of the M other losses at g, and there is none where g is below
    `smallest_gamma(M)`.

    Formal guarantee, given who is saturated: let records be independent, each saturated with
    probability p. With probability 99% over who of the N is, there is no mu, or the new record is
    above it with probability at most gamma. Proof: who is saturated fixes g. The M losses and that
    of an unsaturated new record are then M + 1 independent draws from one distribution, so

      `P(L > mu) <= P(new is saturated) + P(new is not) P(L > mu given that) <= p + (1 - p) g`,

    which is at most `p - u + gamma`, so at most gamma where p <= u: in 99% of what is drawn.

    Formal guarantee, over all draws: let no more than the N + 1 pairs of loss and saturation be
    exchangeable. That there is a mu and the new record is above it has probability at most gamma;
    no 1% is added. Proof: count saturated losses as infinite, and let `r = floor(gamma (N + 1))`.
    Where there is a mu, `c / N <= u < gamma`, so that

      `u (N + 1 - c) >= c (1 - (c - 1) / N) >= c (1 - gamma)`, so `g (M + 1) <= gamma (N + 1) - c`,

    and `e = floor(g (M + 1))` is at most r - c. As the proof of `one_sided` has it, mu is at or
    above the e-th largest of the M losses, so at or above the (r - c)-th, which is the r-th largest
    of all N. At most r of N + 1 are above the r-th largest of the others, and the new one is any of
    the N + 1 with equal chance.

    Why a limit, even where none was seen: with c / N for u the second guarantee holds and the first
    does not. Where p is above gamma every mu is wrong, and one would be given whenever chance shows
    few saturated records: at p = 0.1 and gamma = 0.05, in the 12% of draws of 20 that show none.

    What is not guaranteed: that a mu holds where one is seldom given. Where p is above gamma none
    can hold, and the first guarantee is that at most 1% of the draws have one.

    Args:
      gamma: probability of a larger loss.
      count: N.
      saturated: c, from 0 to N.

    Returns:
      g; 0 where nothing is left.

    Raises:
      ValueError: gamma is not between 0 and 1, or the others are not such whole numbers.
    """
    limit = saturated_limit(count, saturated)
    return max(0.0, _validate.probability("gamma", gamma) - limit)


def saw_yang_mo(losses: np.ndarray, gamma: float) -> float:
    """Chebyshev's bound with what estimated moments cost: for both tails, here for the upper one.

    With m and s (N - 1 in its denominator) of the N losses and `Q = s sqrt((N + 1) / N)`, for every
    k > 0

      `P(|L - m| > k Q) <= floor((N + 1) / N * ((N - 1) / k^2 + 1)) / (N + 1)`.

    Proof: let z be the new loss L less the mean of all N + 1, over their deviation (N + 1 in its
    denominator). Taking L out of both moments gives `z^2 = N k^2 / (N - 1 + k^2)` at
    `|L - m| = k Q`, which grows with k, and `z^2 = N` at s = 0; so the event implies
    `z^2 > N k^2 / (N - 1 + k^2)`. The squares of all N + 1 such z sum to N + 1, so at most
    `floor((N + 1) (N - 1 + k^2) / (N k^2))` of them are as large, and the new loss is any of the
    N + 1 with equal chance.

    The right side falls in k by steps, from 1 at k = 1 to `1 / (N + 1)`. With
    `r = floor(gamma (N + 1))` it is at most gamma where
    `(N + 1) / N * ((N - 1) / k^2 + 1) < r + 1`, so `k^2 > (N^2 - 1) / (r N - 1)`. The bound is
    `m + k Q` at that limit itself: what is above it is above `m + k Q` for some larger k.

    Formal guarantee: a new loss, exchangeable with the N, is above the bound with probability at
    most gamma. Equal losses give that loss as the bound, and the guarantee holds: a larger one is
    one of N + 1.

    Source: Saw, Yang and Mo 1984 (The American Statistician 38), without their refinement for odd
    counts, in the form of Kaban 2012 (Statistics and Computing 22). Stellato, Van Parys and Goulart
    2017 (The American Statistician 71) have it for `k s`, with `k^2 N / (N + 1)` for our `k^2`.

    Args:
      losses: [records], at least 2, nats.
      gamma: probability of a larger loss, at least `smallest_gamma` of the number of losses.

    Returns:
      The bound, nats; `one_sided` is never above it.

    Raises:
      ValueError: not such losses, all finite, or gamma is below that or not between 0 and 1.
    """
    losses, exceeding = _checked_losses(losses, gamma)
    count = len(losses)
    squared = (count + 1) / count * (count**2 - 1) / (exceeding * count - 1)
    return _above_mean(losses, exceeding, squared)


def one_sided(losses: np.ndarray, gamma: float) -> float:
    """`m + s sqrt((N - 1) (N - r) / (N r))`, `r = floor(gamma (N + 1))`: Cantelli for N losses.

    m and s (N - 1 in its denominator) are those of the N losses. Proof: r or more of the N losses
    are at least as large as the r-th largest, so Cantelli's inequality among the N, whose deviation
    with N in the denominator is `s sqrt((N - 1) / N)`, puts the r-th largest at or below the bound.
    At most r of N + 1 losses are above the r-th largest of the others, and the new one is any of
    the N + 1 with equal chance.

    The same follows from Cantelli's inequality among all N + 1, as `saw_yang_mo` does from
    Chebyshev's. No smaller multiple of s holds: of r + 1 losses of 1 and N - r of 0, each 1 is at
    the bound of the others. The r-th largest loss itself holds as well and is never above.

    Formal guarantee: a new loss, exchangeable with the N, is above the bound with probability at
    most r / (N + 1), so at most gamma. Equal losses give that loss, with the same guarantee.

    Source: Cantelli's inequality and the ranks of exchangeable numbers, put together here.

    Args:
      losses: [records], at least 2, nats.
      gamma: probability of a larger loss, at least `smallest_gamma` of the number of losses.

    Returns:
      The bound, nats.

    Raises:
      ValueError: not such losses, all finite, or gamma is below that or not between 0 and 1.
    """
    losses, exceeding = _checked_losses(losses, gamma)
    count = len(losses)
    squared = (count - 1) / count * (count - exceeding) / exceeding
    return _above_mean(losses, exceeding, squared)


def _above_mean(losses: np.ndarray, exceeding: int, squared: float) -> float:
    """`m + s sqrt(squared)` of ascending losses.

    Moments are those of the losses moved and scaled to [0, 1], so that equal ones have exactly none
    and tiny ones do not underflow. Only rounding can put the bound below the loss that proves it.
    """
    scale = losses[-1] - losses[0]
    unit = (losses - losses[0]) / (scale or 1.0)
    bound = losses[0] + scale * (unit.mean() + math.sqrt(squared) * unit.std(ddof=1))
    return float(max(bound, losses[-exceeding]))


def _exceeding(count: int, gamma: float) -> int:
    """`floor(gamma (N + 1))`; a gamma of `r / (N + 1)` gives r, whatever the product's rounding."""
    nearest = round(gamma * (count + 1))
    return nearest - (nearest / (count + 1) > gamma)


def _checked_losses(losses: np.ndarray, gamma: float) -> tuple[np.ndarray, int]:
    """The losses in ascending order, and how many of N + 1 may be above the bound."""
    array = np.asarray(losses)
    if array.dtype.kind not in "fiu" or array.ndim != 1:
        raise ValueError(f"losses must be numbers [records], got {array.dtype} {array.shape}")
    array = np.sort(array.astype(np.float64))
    wrong = array[~(np.abs(array) <= _LARGEST)]
    if wrong.size:
        size = f"finite and at most {_LARGEST:g} in size"
        raise ValueError(f"losses must be {size}, got {wrong[0]:g}")
    if len(array) < 2:
        raise ValueError(f"losses must be those of at least 2 records, got {len(array)}")
    exceeding = _exceeding(len(array), _validate.probability("gamma", gamma))
    if not exceeding >= 1:
        raise ValueError(
            f"gamma must be at least {smallest_gamma(len(array))!r} with {len(array)} losses, "
            f"got {gamma!r}; give more records or a larger gamma"
        )
    return array, exceeding


def _checked_moments(mean: float, std: float, gamma: float) -> None:
    if not (isinstance(mean, numbers.Real) and math.isfinite(mean)):
        raise ValueError(f"mean must be a finite number, got {mean!r}")
    _validate.non_negative("std", std)
    _validate.probability("gamma", gamma)
