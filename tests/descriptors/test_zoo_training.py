"""The whole zoo's training: order, budget, what is finished is kept, what was killed goes on; the command."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import small
from typer.testing import CliRunner

from descriptors.contract import DescriptorError
from descriptors.headers import read_header
from descriptors.training import zoo
from descriptors.training.curve import Progress
from descriptors.training.distill import Distilled
from descriptors.training.jobs import side_by_side
from descriptors.training.objectives import HardestInBatch, Objective
from recon.cli import app
from recon.cli.train import _Reports


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Three recipes on little data: one that begins with another's weights, one that learns from a teacher."""
    table = {
        "hardnet": replace(small("tfeat"), minutes=20),
        "sosnet": replace(small("tfeat"), minutes=10, start="hardnet"),
        "swift": replace(small("tfeat"), minutes=30, loss=Distilled(HardestInBatch(), "hardnet")),
    }
    for module in (zoo, __import__("descriptors.training.recipes", fromlist=["RECIPES"])):
        monkeypatch.setattr(module, "RECIPES", table)
    monkeypatch.setattr(zoo.runtime, "WEIGHTS", Path("nowhere"))  # the package's weights are of other networks
    return table


def test_a_budget_is_shared_by_the_recipes_times(short: dict) -> None:
    assert zoo.minutes_of(list(short), 60.0) == pytest.approx({"hardnet": 17, "sosnet": 8.5, "swift": 25.5})
    assert zoo.minutes_of(["hardnet", "swift"], None) == {"hardnet": 20, "swift": 30}


def test_the_whole_zoo_is_trained_kept_and_gone_on_with(short: dict, data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    first = list(zoo.train_zoo(data, tmp_path, steps=2, progress=lambda name, _: told.append(name)))
    assert [o.name for o in first] == ["hardnet", "sosnet", "swift"] and all(o.figures for o in first)
    assert list(dict.fromkeys(told)) == ["hardnet", "sosnet", "swift"]
    headers = {name: read_header(tmp_path / f"{name}.safetensors") for name in short}
    assert not headers["hardnet"]["started_from"] and headers["sosnet"]["started_from"]
    assert str(tmp_path / "hardnet.safetensors") in headers["swift"]["recipe"]
    assert "those of hardnet" in (tmp_path / "sosnet.md").read_text()
    kept = (tmp_path / "hardnet.safetensors").stat().st_mtime_ns
    (tmp_path / "swift.safetensors").unlink()  # as if it had not been reached
    again = list(zoo.train_zoo(data, tmp_path, steps=2))
    assert [o.figures is None for o in again] == [True, True, False] and not any(o.error for o in again)
    assert (tmp_path / "hardnet.safetensors").stat().st_mtime_ns == kept


def test_a_budget_of_several_at_once_is_as_long_as_what_must_wait(short: dict) -> None:
    assert zoo.minutes_of(list(short), 60.0, 2) == pytest.approx({"hardnet": 20.4, "sosnet": 10.2, "swift": 30.6})
    sum_of_chain = zoo.minutes_of(["hardnet", "sosnet"], 60.0, 2)  # they cannot run side by side
    assert sum_of_chain == pytest.approx({"hardnet": 34, "sosnet": 17})


def test_networks_are_trained_side_by_side(short: dict, data: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    found = {}
    for outcome in zoo.train_zoo(
        data, tmp_path, steps=2, jobs=2, progress=lambda n, state: told.append((n, state.step))
    ):
        found[outcome.name] = outcome
        if outcome.name == "hardnet":  # what begins with it or learns from it has not begun
            assert not any((tmp_path / f"{name}.safetensors").exists() for name in ("sosnet", "swift"))
    assert set(found) == set(short) and all(o.figures and not o.error for o in found.values())
    assert {name for name, _ in told} == set(short)
    headers = {name: read_header(tmp_path / f"{name}.safetensors") for name in short}
    assert headers["sosnet"]["started_from"] and str(tmp_path / "hardnet.safetensors") in headers["swift"]["recipe"]
    assert all("one of 2 trainings at once" in header["hardware"] for header in headers.values())
    again = list(zoo.train_zoo(data, tmp_path, steps=2, jobs=2))
    assert len(again) == 3 and not any(o.figures or o.error for o in again)


def test_what_one_at_a_time_trains_several_at_once_do_too(short: dict, data: Path, tmp_path: Path) -> None:
    del short["sosnet"], short["swift"]
    short["tfeat-margin"] = small("tfeat")
    for folder, jobs in (("one", 1), ("two", 2)):
        list(zoo.train_zoo(data, tmp_path / folder, steps=2, jobs=jobs))
    for name in short:
        one, two = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=0.05, atol=0.05 if value.is_floating_point() else 3)


def test_no_jobs_are_refused(short: dict, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match="0 trainings at once are none"):
        next(zoo.train_zoo(data, tmp_path, jobs=0))


def test_a_training_that_is_killed_is_told(short: dict, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"was killed.*fewer --jobs"):
        list(side_by_side([_Killed("a"), _Killed("b")], 2, lambda *_: None))


@dataclass(frozen=True)
class _Killed:
    name: str
    after: frozenset[str] = frozenset()

    def run(self, _tell: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_checkpoint_means_that_it_is_not_finished(tmp_path: Path) -> None:
    weights = tmp_path / "n.safetensors"
    assert not zoo.finished(weights)
    weights.write_bytes(b"")
    assert zoo.finished(weights)
    weights.with_suffix(".checkpoint").write_bytes(b"")
    assert not zoo.finished(weights)


@dataclass(frozen=True)
class _Broken(HardestInBatch):
    def __call__(self, *_: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available")


@pytest.mark.parametrize(
    ("loss", "told"), [(Distilled(HardestInBatch(), "nobody"), "nobody has no weights"), (_Broken(), "no kernel image")]
)
def test_one_that_cannot_be_trained_does_not_stop_the_others(
    short: dict, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Objective, told: str
) -> None:
    monkeypatch.setitem(short, "hardnet", replace(short["hardnet"], loss=loss))
    first, second = zoo.train_zoo(data, tmp_path, names=["sosnet", "hardnet"], steps=1)
    assert told in first.error and second.name == "sosnet" and second.figures


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(DescriptorError, match="'hardnet'"):
        next(zoo.train_zoo("nowhere", Path("x"), names=["hardnett"]))


def test_the_command(short: dict, data: Path, tmp_path: Path) -> None:
    given = ["train", "all", "--data", str(data), "--out", str(tmp_path / "z"), "--names", "hardnet,sosnet", "--steps"]
    done = CliRunner().invoke(app, [*given, "1"])
    assert done.exit_code == 0, done.output
    assert "hardnet: matching" in done.stderr and "100.0 %  step 1" in done.stderr and " left" in done.stderr
    assert sorted(path.name for path in (tmp_path / "z").glob("*.safetensors")) == [
        "hardnet.safetensors", "sosnet.safetensors",
    ]  # fmt: skip


def test_each_training_has_a_bar_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with _Reports() as reports:
        for name, done in (("hardnet", 0.25), ("swift", 0.5), ("hardnet", 0.75)):
            reports.show(name, Progress(1, done, 1.0, 100.0, None, 5.0))
        shown = {task.description: task.completed for task in reports._bars.tasks}
        assert shown == {"hardnet": 0.75, "swift": 0.5}
        reports.show("swift", Progress(2, 1.0, 1.0, 100.0, None, 0.0))
        assert [task.description for task in reports._bars.tasks] == ["hardnet"]
