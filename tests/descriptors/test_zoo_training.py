"""The whole zoo's training: order, budget, what is finished is kept, what was killed goes on; the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_training import data, small  # noqa: F401
from typer.testing import CliRunner

from descriptors.contract import DescriptorError
from descriptors.headers import read_header
from descriptors.training import zoo
from descriptors.training.distill import Distilled
from descriptors.training.objectives import HardestInBatch
from recon.cli import app


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


def test_the_whole_zoo_is_trained_kept_and_gone_on_with(short: dict, data: Path, tmp_path: Path) -> None:  # noqa: F811
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


def test_a_checkpoint_means_that_it_is_not_finished(tmp_path: Path) -> None:
    weights = tmp_path / "n.safetensors"
    assert not zoo.finished(weights)
    weights.write_bytes(b"")
    assert zoo.finished(weights)
    weights.with_suffix(".checkpoint").write_bytes(b"")
    assert not zoo.finished(weights)


def test_one_that_cannot_be_trained_does_not_stop_the_others(
    short: dict, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setitem(short, "hardnet", replace(short["hardnet"], loss=Distilled(HardestInBatch(), "nobody")))
    first, second = zoo.train_zoo(data, tmp_path, names=["sosnet", "hardnet"], steps=1)
    assert "nobody has no weights" in first.error and second.name == "sosnet" and second.figures


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(DescriptorError, match="'hardnet'"):
        next(zoo.train_zoo("nowhere", Path("x"), names=["hardnett"]))


def test_the_command(short: dict, data: Path, tmp_path: Path) -> None:  # noqa: F811
    given = ["train", "all", "--data", str(data), "--out", str(tmp_path / "z"), "--names", "hardnet,sosnet", "--steps"]
    done = CliRunner().invoke(app, [*given, "1"])
    assert done.exit_code == 0, done.output
    assert "hardnet: matching" in done.stderr and "100.0 %  step 1" in done.stderr and " left" in done.stderr
    assert sorted(path.name for path in (tmp_path / "z").glob("*.safetensors")) == [
        "hardnet.safetensors", "sosnet.safetensors",
    ]  # fmt: skip
