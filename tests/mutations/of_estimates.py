# SPDX-License-Identifier: Apache-2.0
"""Edits of the empirical estimate."""

from __future__ import annotations

from mutation import Mutation

_MU = ("tests/test_privacy_estimate.py", "-k", "promise_20")

MUTATIONS = (
    Mutation(
        20,
        "saturated losses are in the moments of mu",
        "tfartgen/privacy_estimate.py",
        "others, left = losses[~saturated], chebyshev",
        "others, left = losses, chebyshev",
        _MU,
    ),
    Mutation(
        20,
        "mu is for gamma less the share that is seen to be saturated, not less its limit",
        "tfartgen/chebyshev.py",
        'return max(0.0, _validate.probability("gamma", gamma) - limit)',
        'return max(0.0, _validate.probability("gamma", gamma) - saturated / count)',
        _MU,
    ),
    Mutation(
        20,
        "mu is not refused where saturated records leave too little of gamma: the least supported stands in",
        "tfartgen/privacy_estimate.py",
        "chebyshev.gamma_left(gamma, count, unbounded)",
        "max(chebyshev.gamma_left(gamma, count, unbounded), 1 / (count - unbounded + 1))",
        _MU,
    ),
)
