# SPDX-License-Identifier: Apache-2.0
"""`tensorboard --logdir runs` on a run of `bin/train`, asked over HTTP and looked at in a browser."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest
import scripts
from browser import chromium, errors_of

RUN, STEPS, SHOWN = "digits/tensorboard", 60, 30
SMALL = (
    "--generator_width=2",
    "--critic_width=2",
    "--batch_size=16",
    f"--steps={STEPS}",
    f"--projector_images={SHOWN}",
    "--noise_multiplier=1",  # enough to have an epsilon
)
METRICS = {"critic_loss", "generator_loss", "gradient_norm", "epsilon_spent"}
SECONDS = 60  # in which TensorBoard is to start, on a machine that is busy


def wait_for(what, process, *, until=bool):
    """What a function returns, as soon as that is as it is to be."""
    deadline = time.monotonic() + SECONDS
    while not until(found := what()):
        assert process.poll() is None and time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def tensorboard(folder):
    """Address of a TensorBoard of the runs in a folder, on a free port, and its process."""
    log = folder / "tensorboard.log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", "0"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, "--load_fast=false"], cwd=folder, stdout=output, stderr=output
        )
    try:
        address = wait_for(lambda: re.search(r" at (http://\S+)", log.read_text()), process)
        yield address[1], process
    finally:
        process.kill()
        process.wait()


def ask(address, path, body=None):
    """The JSON answer to a request, posted if it has a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address}data/{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture(name="address", scope="module")
def _address(tmp_path_factory):
    """Address of a TensorBoard that has read the run and found its projector."""
    folder = tmp_path_factory.mktemp("tensorboard")
    folders = f"--run_dir={folder}/runs/digits", f"--model_dir={folder}/saved_models/digits"
    with scripts.main_of("train") as train:
        assert train(*SMALL, *folders) == 0
    with tensorboard(folder) as (address, process):
        wait_for(lambda: ask(address, "runs"), process, until=lambda runs: RUN in runs)
        # It looks for projectors when it is first asked which plugins there are, and finds them some time later.
        wait_for(lambda: ask(address, "plugins_listing")["projector"]["enabled"], process)
        yield address


def test_the_server_lists_scalars_images_graph_and_projector_of_the_run(address):
    assert ask(address, "runs") == [RUN]
    assert METRICS <= set(ask(address, "plugin/scalars/tags")[RUN])
    assert set(ask(address, "plugin/images/tags")[RUN]) == {"generated"}
    assert ask(address, "plugin/graphs/info")[RUN]["run_graph"]
    assert ask(address, "plugin/projector/runs") == [RUN]
    [shown] = ask(address, f"plugin/projector/info?run={RUN}")["embeddings"]
    assert shown["tensorShape"] == [SHOWN, 64]


def test_the_server_lists_settings_and_metrics_of_the_run(address):
    experiment = ask(address, "plugin/hparams/experiment", {})
    metrics = [metric["name"] for metric in experiment["metricInfos"]]
    query = {"startIndex": 0, "sliceSize": 9, "allowedStatuses": ["STATUS_UNKNOWN"]}
    query["colParams"] = [{"metric": name} for name in metrics]
    [group] = ask(address, "plugin/hparams/session_groups", query)["sessionGroups"]
    assert [session["name"] for session in group["sessions"]] == [RUN]
    settings = group["hparams"]
    assert (settings["run"], settings["dataset"], settings["steps"]) == ("digits", "digits", STEPS)
    values = {metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]}
    assert METRICS <= set(values) and values["epsilon_spent"] > 0


def test_every_tab_shows_the_run_in_a_browser(address):
    with chromium() as browser:
        page = browser.new_page()
        errors = errors_of(page)
        for name, look in LOOKS.items():
            page.goto(f"{address}#{name}")
            look(page)
            assert errors == [], name


def look_at_scalars(page):
    dashboard = page.locator("tf-scalar-dashboard")
    dashboard.locator("tf-scalar-card").get_by_text("tag: critic_loss").wait_for()
    assert dashboard.locator("tf-runs-selector").get_by_text(RUN).count() == 1


def look_at_images(page):
    image = page.locator("tf-image-loader img")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 10 * 8


def look_at_graphs(page):
    for name in ("generator", "critic"):
        page.locator(f'g.node[data-name="{name}"]').wait_for()


def look_at_projector(page):
    with page.expect_response(re.compile("projector/sprite_image")) as sprite:
        inner = page.frame_locator("iframe").frame_locator("iframe")
        inner.get_by_text(f"Points: {SHOWN}").wait_for()
    assert sprite.value.ok and sprite.value.headers["content-type"] == "image/png"


def look_at_hparams(page):
    table = page.locator("tf-hparams-table-view")
    for heading in ("batch_size", "epsilon_spent"):
        table.get_by_text(heading, exact=True).wait_for()
    table.get_by_text("16.000").wait_for()


LOOKS = {
    "scalars": look_at_scalars,
    "images": look_at_images,
    "graphs": look_at_graphs,
    "projector": look_at_projector,
    "hparams": look_at_hparams,
}
