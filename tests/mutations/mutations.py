# SPDX-License-Identifier: Apache-2.0
"""All mutations, room by room."""

from __future__ import annotations

import of_attacks
import of_estimates
import of_noise
import of_records
import of_releases
import of_spending
import of_statements

MUTATIONS = (
    *of_noise.MUTATIONS,
    *of_records.MUTATIONS,
    *of_spending.MUTATIONS,
    *of_statements.MUTATIONS,
    *of_releases.MUTATIONS,
    *of_estimates.MUTATIONS,
    *of_attacks.MUTATIONS,
)
