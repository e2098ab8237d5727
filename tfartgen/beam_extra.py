# SPDX-License-Identifier: Apache-2.0
"""Apache Beam, which the extra [beam] brings and nothing else needs."""

from __future__ import annotations

from typing import Any


def beam(needed_by: str) -> Any:
    """The module `apache_beam`.

    Args:
      needed_by: begins the message, verb included.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise ValueError(
            f"{needed_by} the extra [beam] ({error}): pip install 'tfartgen[beam]', or -e '.[beam]'"
        ) from None
    return apache_beam


def file_systems() -> Any:
    """Beam's access to folders and addresses alike."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
