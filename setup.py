# SPDX-License-Identifier: Apache-2.0
"""Build entry point; all metadata is in setup.cfg."""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 11):
    sys.exit(
        "tfartgen needs Python 3.10 or 3.11 (TensorFlow 2.15, the last that TensorFlow Privacy"
        " imports with, exists for no newer, and OpenDP for no older), got %d.%d: make the virtual environment with"
        " python3.11 -m venv." % sys.version_info[:2]
    )

from setuptools import setup  # noqa: E402  (after the check, so that the message comes first)

setup()
