# SPDX-License-Identifier: Apache-2.0
"""How much a release would change if one record were left out, from samples: arrays in, numbers out.

Nothing here is a guarantee. The estimates see influence of a record that is near the record, in the space that they are
given, as far as samples resolve it; each function says what it can miss.

Distances of zero, and tiny ones, would make infinite logarithms. The rule: a distance below `_FLOOR` of the
median of those it is compared with counts as that floor. Where the median is zero, that of the distances above
zero stands in for it; where there are none, the extent of the examples: copies must not look like a smooth density.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special

from tfartgen import _validate, neighbours

#: Of the median distance: what is closer is as good as equal.
_FLOOR = 1e-6
#: Neighbours that are listed for each point, beyond k; where a record owns more, all points are searched.
_LISTED = 59
#: Nats by which the density at the points of a record falls when they are removed, above which no comparable
#: neighbour is left: a factor of seven. A hole in a smooth density costs 1 or less.
SATURATION = 2.0
#: The same of the nearest neighbour alone, whose gain is noisier.
_NEAREST_SATURATION = 5.0
#: Neighbours that `structure` compares.
_SCALES = (1, 5, 20)
#: Neighbours listed at the most, and entries of lists in memory at a time.
_MOST_LISTED, _PAIRS = 400, 2**22
#: Above it, points of a release huddle closer than a smooth density lets them.
CLUMPED = 1.3
#: Below it, they lie in clusters of a few, apart from each other.
CLUSTERED = 1 / 1.5


def kl_divergence(first: np.ndarray, second: np.ndarray, k: int = 5) -> float:
    """KL(p || q) in nats, from samples of p and of q, by distances to k-th neighbours.

    `(d / n) sum_i log(nu_i / rho_i) + log(m / (n - 1))`, with `rho_i` the distance of the i-th of n points of
    p to its k-th neighbour among the others, `nu_i` to its k-th among the m of q.

    Consistent as n and m grow, and biased towards zero at any finite number, the more so the more dimensions there
    are: a `calibration` belongs beside it. It can be below zero.

    Source: Wang, Kulkarni and Verdu 2009, "Divergence estimation for multidimensional densities via k-nearest-
    neighbor distances", equation 5; Perez-Cruz 2008, "Kullback-Leibler divergence estimation of continuous
    distributions", equation 14.

    Args:
      first: of p, [n, dimensions], more than k rows.
      second: of q, [m, dimensions], at least k rows.
      k: which neighbour.

    Raises:
      ValueError: not such arrays of finite numbers, or k is not a positive whole number.
    """
    within = neighbours.nearest(first, first, k, same=True).distances[:, -1]
    across = neighbours.nearest(first, second, k).distances[:, -1]
    within, across = _floored(within, across)
    count, dimensions = np.shape(first)
    log_ratio = float(np.mean(np.log(across / within)))
    return dimensions * log_ratio + float(np.log(len(second) / (count - 1)))


def _floored(*distances: np.ndarray) -> list[np.ndarray]:
    least = _least(np.concatenate([each.ravel() for each in distances]), 0.0)
    return [np.maximum(each, least) for each in distances]


def _least(distances: np.ndarray, extent: float) -> float:
    """The floor of such distances, by the rule above."""
    median = float(np.median(distances))
    if not median > 0:
        median = float(np.median(distances[distances > 0])) if distances.any() else extent
    return _FLOOR * median if median > 0 else 1.0


@dataclasses.dataclass(frozen=True)
class Imitation:
    """What leaving each record out would change, as `imitate` sees it.

    Attributes:
      losses: expected privacy loss of each record, nats per artificial example, [records].
      owned: artificial examples of both samples that the record, and what is left out with it, owns, [records].
      saturated: whether samples resolve no more, so that the loss is "at least" this, [records].
      structure: how the examples of the first sample lie among those of the second.
    """

    losses: np.ndarray
    owned: np.ndarray
    saturated: np.ndarray
    structure: Structure


def imitate(
    first: np.ndarray,
    second: np.ndarray,
    records: np.ndarray,
    k: int = 5,
    group_size: int = 1,
) -> Imitation:
    """The change of the k-NN KL estimate when a record's own examples are taken out of the second sample.

    An example is owned by the nearest record. Without those that record x owns, m' of m are left, and

        L_x = (d / n) sum_i log(nu'_k(i) / nu_k(i)) + log(m' / m),

    where `nu_k(i)` and `nu'_k(i)` are the distances of the i-th of the n examples of `first` to its k-th neighbour in
    `second`, before and after. The change, unlike the estimate itself, is exactly zero for a record that owns nothing.

    What it misses: influence far from the record (a generator that averages records); and where a record's
    examples stand alone, the loss grows with the squared distance to the next ones but the estimate only with its
    logarithm. Such a record is saturated: at its examples the density falls by more than `SATURATION` nats, or that
    of the nearest neighbour by `_NEAREST_SATURATION`, both counted in apparent dimensions (`structure`); or fewer
    than k examples are left.

    Records that are equal are left out together. Permuting the records permutes the result.

    Source: section 4 of Triastcyn and Faltings (arXiv 1803.03148) for the idea, made precise here.

    Args:
      first: artificial examples, [n, dimensions].
      second: independent ones, [m, dimensions], more than k.
      records: [records, dimensions].
      k: which neighbour.
      group_size: records of one person: each is left out with its nearest `group_size - 1` others.

    Raises:
      ValueError: not such arrays of finite numbers, or k or group_size is not such a number.
    """
    _validate.positive_int("k", k)
    _validate.positive_int("group_size", group_size)
    neighbours.checked(first, records, 1, False)
    require_examples(len(second), k)
    unique, inverse = np.unique(records, axis=0, return_inverse=True)
    groups = groups_of(unique, group_size)
    owners = [neighbours.nearest(each, unique, 1).indices[:, 0] for each in (first, second)]
    removal = _Removal(np.asarray(first), np.asarray(second), groups, owners[0], owners[1], k)
    losses, saturated = removal.result()
    inverse = np.ravel(inverse)
    owned = removal.owned.sum(axis=0)
    return Imitation(losses[inverse], owned[inverse], saturated[inverse], removal.structure)


def groups_of(records: np.ndarray, group_size: int) -> np.ndarray:
    """Of each record itself and its nearest others, [records, group_size]: the worst person it may belong to.

    Raises:
      ValueError: there are fewer records.
    """
    if group_size > len(records):
        raise ValueError(
            f"group_size must be at most {len(records)}, the number of different records, got {group_size}; lower it"
        )
    return neighbours.nearest(records, records, group_size).indices


def require_examples(count: int, k: int) -> None:
    """Raises a ValueError unless a sample of so many artificial examples has a k-th neighbour to lose."""
    if count < k + 1:
        raise ValueError(
            f"k={k} needs at least {k + 1} artificial examples in each half, got {count}; draw more or lower k"
        )


class _Removal:
    """The arithmetic of `imitate`, over distinct records."""

    def __init__(self, first, second, groups, first_owner, second_owner, k):
        self._first, self._second, self._groups, self._k = first, second, groups, k
        self._first_owner, self._second_owner = first_owner, second_owner
        counts = [np.bincount(o, minlength=len(groups)) for o in (first_owner, second_owner)]
        #: Examples of each sample that each group owns, [2, records].
        self.owned = np.stack([count[groups].sum(axis=1) for count in counts])
        listed = k + int(np.clip(self.owned[1].max(), _LISTED, _MOST_LISTED))
        self._near = neighbours.nearest(first, second, min(listed, len(second)))
        self.structure = _structure(self._near.distances, self._second)

    def result(self):
        """Losses and whether they are saturated, of each distinct record."""
        count, dimensions = self._first.shape
        left = len(self._second) - self.owned[1]
        losses = np.log(np.maximum(left, 1) / len(self._second))
        own = np.zeros([2, len(losses)])
        for rows, removed in self._pairs():
            gains = dimensions * self._log_ratios(rows, removed)
            np.add.at(losses, removed, gains[1] / count)
            is_own = (self._groups[removed] == self._first_owner[rows][:, None]).any(axis=1)
            for total, gain in zip(own, gains):
                np.add.at(total, removed[is_own], gain[is_own])
        own *= self.structure.dimensions / dimensions / np.maximum(self.owned[0], 1)
        nearest, kth = own
        saturated = (kth > SATURATION) | (nearest > _NEAREST_SATURATION) | (left < self._k)
        return losses, saturated

    def _pairs(self):
        """Rows of the first sample with records whose removal moves their k-th neighbour, in blocks."""
        count, size = self._groups.shape
        members = np.argsort(self._groups, axis=None, kind="stable")
        of_owner = np.bincount(self._groups.ravel(), minlength=count)
        starts: np.ndarray = np.cumsum(of_owner) - of_owner
        step = max(1, _PAIRS // (self._near.indices.shape[1] * self._k * size**2))
        for start in range(0, len(self._first), step):
            nearest = self._near.indices[start : start + step, : self._k]
            owners = self._second_owner[nearest].ravel()
            # Each owner stands for all groups that it is in.
            groups = of_owner[owners]
            places = np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
            removed = members[np.repeat(starts[owners], groups) + places] // size
            rows = np.repeat(np.repeat(np.arange(len(nearest)), self._k), groups) + start
            codes = np.unique(rows * count + removed)
            yield codes // count, codes % count

    def _log_ratios(self, rows, removed):
        """Of the distances to the nearest and the k-th neighbour, after over before, [2, pairs]."""
        owners = self._second_owner[self._near.indices[rows]]
        kept = np.ones(owners.shape, bool)
        for column in self._groups[removed].T:
            kept &= owners != column[:, None]
        distances = self._near.distances[rows]
        ranks = np.cumsum(kept, axis=1)
        after = np.stack(
            [
                np.take_along_axis(distances, np.argmax(ranks >= rank, axis=1)[:, None], axis=1)
                for rank in (1, self._k)
            ]
        )[..., 0]
        short = ranks[:, -1] < self._k
        if short.any():
            after[:, short] = self._searched(rows[short], removed[short])
        floor = self.structure.floor
        return np.log(
            np.maximum(after, floor) / np.maximum(distances[:, [0, self._k - 1]].T, floor)
        )

    def _searched(self, rows, removed):
        """Distances to the nearest and k-th of all that is left, where the list was too short, [2, pairs]."""
        result = np.empty([2, len(rows)])
        for record in np.unique(removed):
            which = removed == record
            left = self._second[~np.isin(self._second_owner, self._groups[record])]
            points = self._first[rows[which]]
            if len(left) < self._k:  # a record that owns it all: as far as anything that was seen
                result[:, which] = self._near.distances.max()
                continue
            found = neighbours.nearest(points, left, self._k).distances
            result[:, which] = found[:, [0, -1]].T
        return result


@dataclasses.dataclass(frozen=True)
class Structure:
    """How examples lie among their neighbours.

    Attributes:
      dimensions: that the data seem to have at the scale of neighbours, never more than they have.
      clumping: the dimension that farther neighbours (5th to 20th) suggest over that of the nearest (1st to
        5th): 1 for any smooth density, above `CLUMPED` where pairs huddle, below `CLUSTERED` where clusters
        of several are apart from each other.
      floor: below which a distance counts as this.
    """

    dimensions: float
    clumping: float
    floor: float

    @property
    def is_clumped(self) -> bool:
        """Whether no smooth density explains how the examples lie."""
        return not CLUSTERED <= self.clumping <= CLUMPED


def structure(first: np.ndarray, second: np.ndarray) -> Structure:
    """Measures how the examples of one sample lie among those of another, at least 2 of them.

    In a smooth density of D dimensions the volumes of balls that reach the j-th neighbour grow like j, so that the
    mean of `log(nu_j / nu_i)` is `(psi(j) - psi(i)) / D`, psi the digamma function (the estimate of Levina and Bickel
    2004 is close to it). A release that repeats itself, or clusters finely, breaks that at the smallest scale.

    Raises:
      ValueError: not such arrays of finite numbers.
    """
    listed = min(_SCALES[-1], len(second))
    return _structure(neighbours.nearest(first, second, listed).distances, second)


def _structure(distances: np.ndarray, second: np.ndarray) -> Structure:
    scales = [scale for scale in _SCALES if scale <= distances.shape[1]]
    at = distances[:, [scale - 1 for scale in scales]]
    typical = at[:, min(1, len(scales) - 1)]
    extent = float(np.ptp(second, axis=0).max())
    floor = _least(typical if typical.any() else distances, extent)
    growth = np.diff(np.log(np.maximum(at, floor)), axis=1).mean(axis=0)
    expected = np.diff(special.digamma(scales))
    tiny = float(np.finfo(np.float64).tiny)
    apparent = expected / np.maximum(growth, tiny)
    apparent = np.where(growth > 0, apparent, 1.0)
    clumping = float(apparent[1] / apparent[0]) if len(scales) > 2 else 1.0
    dimensions = min(float(apparent.max(initial=1.0)), second.shape[1])
    return Structure(float(dimensions), clumping, floor)
