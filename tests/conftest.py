# SPDX-License-Identifier: Apache-2.0
"""Test settings: a quiet TensorFlow, and slow tests only when asked for."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

# TensorFlow reads these when it is imported, so they are set before any test module is collected.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes the slow tests out of the run unless `--runslow` is given."""
    if config.getoption("--runslow"):
        return
    slow = [item for item in items if "slow" in item.keywords]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if "slow" not in item.keywords]


@pytest.fixture(scope="session", autouse=True)
def _two_logical_cpus() -> None:
    """Makes two logical CPU devices before TensorFlow starts, for the tests of several replicas."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.get_logger().setLevel("ERROR")


def _own_budget_book(folder: pathlib.Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFARTGEN_BUDGET_BOOK", str(folder / "budget_book"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _budget_book_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test may count its runs in the book of whoever runs the tests."""
    yield from _own_budget_book(tmp_path_factory.mktemp("session"))


@pytest.fixture(scope="module", autouse=True)
def _budget_book_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of a module's fixtures are not counted together with those of others."""
    yield from _own_budget_book(tmp_path_factory.mktemp("module"))


@pytest.fixture(autouse=True)
def _budget_book_of_the_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor are those of a test: it starts with a new book."""
    yield from _own_budget_book(tmp_path_factory.mktemp("test"))


@pytest.fixture(name="two_replicas", scope="session")
def _two_replicas() -> Any:
    """A strategy with two replicas; one for all tests, since two in a process mix up their collectives."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
