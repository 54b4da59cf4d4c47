"""What a training refuses: no length, batch or device, checkpoints of others, disks that take nothing."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_training import small
from typer.testing import CliRunner

from descriptors.contract import DescriptorError
from descriptors.headers import read_header
from descriptors.training import train as training
from descriptors.training import zoo
from descriptors.training.objectives import HardestInBatch
from descriptors.training.stereo import train_stereo
from pipelines.core.errors import OutputError
from recon.cli import app

NONE = [
    *({"minutes": minutes} for minutes in (0.0, -1.0, math.nan, math.inf)),
    {"steps": 0},
    {"steps": -3},
    {"steps": 1, "pairs": 0},
    {"steps": 1, "pairs": -1},
    {"steps": 1, "device": "tpu"},
    {"steps": 1, "device": "meta"},
]
RATES = [{"steps": 1, "rate": rate} for rate in (0.0, -1e-3, math.nan, math.inf)]


@pytest.mark.parametrize("given", [*NONE, {"steps": 1, "pairs": 1}], ids=str)
def test_a_length_a_batch_or_a_device_that_is_none(data: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    asked = next(reversed(given))
    with pytest.raises(DescriptorError, match=f"--{asked} "):
        training.train("tfeat-margin", data, tmp_path / "n.safetensors", **given)
    with pytest.raises(DescriptorError, match=f"--{asked} "):
        next(zoo.train_zoo(data, tmp_path, names=["tfeat-margin"], **given))
    if given in NONE:
        with pytest.raises(DescriptorError, match=f"--{asked} "):
            train_stereo("swift-stereo", data, tmp_path / "n.safetensors", **given)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("given", RATES, ids=str)
def test_a_rate_that_is_none(data: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    for name, begin in (("tfeat-margin", training.train), ("swift-stereo", train_stereo)):
        with pytest.raises(DescriptorError, match="--rate "):
            begin(name, data, tmp_path / "n.safetensors", **given)  # type: ignore[operator]


def killed(data: Path, out: Path, **options: Any) -> None:
    """A training that is killed after its first step, with a checkpoint."""

    def die(state: training.Progress) -> None:
        if state.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(small("tfeat"), data, out, steps=2, progress=die, **options)


def test_a_checkpoint_that_began_otherwise_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    first, other, out = (tmp_path / f"{name}.safetensors" for name in ("first", "other", "n"))
    for seed, path in enumerate((first, other)):
        training.train(small("tfeat"), data, path, steps=1, seed=seed)
    shutil.copytree(data, tmp_path / "copy")
    monkeypatch.setattr("descriptors.training.run.CHECKPOINT_SECONDS", -1.0)
    killed(data, out, start=first, keep=0.5)
    for given, begun in (
        (data, {"start": other, "keep": 0.5}),
        (data, {"start": first}),
        (data, {}),
        (tmp_path / "copy", {"start": first, "keep": 0.5}),
    ):
        with pytest.raises(DescriptorError, match="--no-resume"):
            training.train(small("tfeat"), given, out, steps=2, **begun)
    monkeypatch.chdir(data)
    shutil.copy(first, tmp_path / "renamed.safetensors")
    training.train(small("tfeat"), f"../{data.name}", out, steps=2, start=tmp_path / "renamed.safetensors", keep=0.5)
    assert read_header(out)["kept"] == "0.5" and not out.with_suffix(".checkpoint").exists()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Refuse larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "recipe_by_name", lambda name: small("tfeat"))
    given = ["train", "tfeat-margin", "--data", str(data), "--steps", "1", "--out"]
    with files_of_at_most(100_000):
        full = CliRunner().invoke(app, [*given, str(tmp_path / "n.safetensors")])
    assert isinstance(full.exception, OutputError) and "Cannot write" in str(full.exception)
    assert sorted(os.listdir(tmp_path)) == ["n.log.jsonl"]
    (tmp_path / "file").write_text("precious")
    below = CliRunner().invoke(app, [*given, str(tmp_path / "file" / "n.safetensors")])
    assert isinstance(below.exception, OutputError) and "a file stands where a folder" in str(below.exception)


def test_what_a_kill_costs_is_bounded(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("descriptors.training.run._KEEP_SECONDS", -1.0)
    out = tmp_path / "n.safetensors"
    run = training.PatchRun(small("tfeat"), data, out, training.Length(1.0, 9), "cpu", 0)
    original, steps = run.take, itertools.count()

    def killed_in_the_third(batch: Any) -> Any:
        if next(steps) < 2:
            return original(batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "take", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        run.steps(lambda _: None)
    again = training.PatchRun(small("tfeat"), data, out, training.Length(1.0, 9), "cpu", 0)
    again.resume()
    assert again.step == 2 and not out.exists()


@pytest.fixture
def hard(data: Path, tmp_path: Path) -> Path:
    """The same data, but that noise leaves something to learn for what is validated."""
    rng = np.random.default_rng(5)
    shutil.copytree(data, tmp_path / "hard")
    for photo in sorted((tmp_path / "hard" / "scenes" / "et" / "images").iterdir()):
        image = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(photo), np.clip(image + rng.normal(0, 60, image.shape), 0, 255).astype(np.uint8))
    return tmp_path / "hard"


def test_a_training_that_collapses_ends(hard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(small("tfeat"), loss=HardestInBatch())
    monkeypatch.setattr(training, "recipe_by_name", lambda name: plan)
    monkeypatch.setattr("descriptors.training.run._LEARNT", 12)
    monkeypatch.setattr("descriptors.training.run._REPORT_SECONDS", 1e9)  # a report would tell of it sooner
    out = tmp_path / "n.safetensors"
    given = ["train", "tfeat-margin", "--data", str(hard), "--out", str(out), "--steps"]
    for rate, advised in (("100", "100"), ("1e30", "1e.30")):
        done = CliRunner().invoke(app, [*given, "12", "--rate", rate])
        assert isinstance(done.exception, DescriptorError) and not out.exists()
        assert re.search(f"collapsed: after 12 steps .* lower --rate than {advised}", str(done.exception))
    assert CliRunner().invoke(app, [*given, "12"]).exit_code == 0  # at the recipe's rate it goes well
    assert json.loads(read_header(out)["recipe"])["learning_rate"] == plan.learning_rate
    kept = out.read_bytes()
    done = CliRunner().invoke(app, [*given, "12", "--no-resume", "--rate", "100"])
    assert isinstance(done.exception, DescriptorError) and out.read_bytes() == kept


def test_finished_weights_are_left_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.safetensors"
    training.train(small("tfeat"), data, out, steps=1)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for again in (
        lambda: training.train(small("tfeat"), data, out, steps=1, seed=1, start=out),
        lambda: train_stereo("swift-stereo", data, out, steps=1),
    ):
        with pytest.raises(DescriptorError, match=r"has ended.* --no-resume"):
            again()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept
    training.train(small("tfeat"), data, out, steps=1, seed=1, resume=False)
    assert read_header(out)["seed"] == "1"


@pytest.mark.parametrize("name", ["n", "n.md", "n.svg", "n.pth"])
def test_weights_have_a_name_that_descriptors_have(data: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DescriptorError, match=r"must end in \.safetensors"):
        training.train(small("tfeat"), data, tmp_path / name, steps=1)
    with pytest.raises(DescriptorError, match=r"must end in \.safetensors"):
        train_stereo("swift-stereo", data, tmp_path / name, steps=1)
    assert not any(tmp_path.iterdir())


def test_a_kill_before_the_card_leaves_a_training_that_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    out = tmp_path / "n.safetensors"

    def die(_weights: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "write_card", die)
        training.train(small("tfeat"), data, out, steps=1)
    assert out.is_file() and not out.with_suffix(".md").exists()
    training.train(small("tfeat"), data, out, steps=1)
    assert "1 steps" in out.with_suffix(".md").read_text() and not out.with_suffix(".checkpoint").exists()


def test_options_of_the_zoo_and_of_one_network(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(zoo, "train_zoo", lambda *_, **options: told.update(options) or iter(()))
    given = ["--data", str(data), "--steps", "1"]
    for name, refused in (("all", ["--init", "swift"]), ("all", ["--rate", "1e-4"]),
                          ("swift", ["--names", "hardnet"]), ("swift", ["--jobs", "2"]),
                          ("all", ["--names", " ,"])):  # fmt: skip
        done = CliRunner().invoke(app, ["train", name, *given, *refused])
        assert done.exit_code == 2 and refused[0] in done.stderr and not told
    assert CliRunner().invoke(app, ["train", "all", *given, "--no-resume"]).exit_code == 0
    assert told["resume"] is False
