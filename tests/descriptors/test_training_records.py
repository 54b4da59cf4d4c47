"""What a training leaves besides weights: log, curve, card; and that a GPU's source gives the CPU's pairs."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_training import small

from descriptors.contract import DescriptorError
from descriptors.datasets.sources import licences
from descriptors.runtime import WEIGHTS
from descriptors.training import train as training
from descriptors.training.augment import Light
from descriptors.training.card import write_card
from descriptors.training.curve import Progress, TrainingLog, curve, read_log, still_falling
from descriptors.training.source import PairSource, ResidentSource
from descriptors.training.validate import Figures


def test_log_goes_on_where_the_training_does(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "n.safetensors", step=0)
    for step in (10, 20, 30):
        log.add(Progress(step, step / 40, 1 / step, 100.0, seconds_left=3.0))
    with log.path.open("a") as file:
        file.write('{"step": 4')  # cut off by a kill
    again = TrainingLog(tmp_path / "n.safetensors", step=20)
    again.add(Progress(40, 1.0, 0.01, 90.0, Figures(0.1, 0.9, 0.5)))
    assert [row["step"] for row in read_log(log.path)] == [10, 20, 40]
    assert read_log(log.path)[-1]["figures"] == {"fpr95": 0.1, "rank1": 0.9, "matching": 0.5}
    ElementTree.parse(log.picture)
    assert read_log(TrainingLog(tmp_path / "n.safetensors", step=0).path) == []


def test_curve_lies_where_the_numbers_say() -> None:
    rows = [{"done": 0.0, "loss": 2.0}, {"done": 0.5, "loss": 1.0}, {"done": 1.0, "loss": 0.0}]
    root = ElementTree.fromstring(curve(rows, "n"))
    (line,) = [element for element in root.iter() if element.tag.endswith("polyline")]
    points = np.array([[float(v) for v in point.split(",")] for point in line.attrib["points"].split()])
    np.testing.assert_allclose(np.diff(points[:, 0]), [320, 320])
    np.testing.assert_allclose(np.diff(points[:, 1]), [200 / 2.1, 200 / 2.1], atol=0.1)


def test_still_falling_by_hand() -> None:
    rows = [{"done": d, "loss": loss} for d, loss in ((0.1, 9.0), (0.8, 1.0), (0.85, 1.0), (0.9, 0.8), (1.0, 0.8))]
    assert still_falling(rows) == pytest.approx(0.2)
    assert still_falling([]) == 0.0


def test_a_training_leaves_log_curve_and_card(data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(data, tmp_path / "data"))
    (data / "README.md").write_text(
        "| wall | training | 3 | 80 | 240 | 0.1 | this test, CC0 |\n| et | validation | x |\n"
    )
    assert licences(data) == {"wall": "this test, CC0"}
    out = tmp_path / "tfeat-margin.safetensors"
    figures = training.train(small("tfeat"), data, out, steps=2, seed=5)
    card = out.with_suffix(".md").read_text()
    row, score = "| wall | this test, CC0 |", f"{figures.matching:.3f}"
    for said in ("599,808 parameters", "BMVC 2016", row, "2 steps, 64 pairs", "seed 5", "threads of", score):
        assert said in card, said
    assert "quarter turns and flips" in card and out.with_suffix(".svg").is_file()
    assert [row["step"] for row in read_log(out.with_suffix(".log.jsonl"))] == [2]


@pytest.mark.parametrize(
    ("name", "among"), [("matchnet", "64 random others"), ("gloss-snet", "RootSIFT's 6 nearest of the batch")]
)
def test_a_metric_networks_card_tells_where_its_hard_negatives_are_from(name: str, among: str, tmp_path: Path) -> None:
    weights = shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    assert f"Every other negative is the hardest of {among}" in write_card(Path(weights)).read_text()


def test_weights_without_a_recipe_get_no_card(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"network": "tfeat"})
    with pytest.raises(DescriptorError, match="does not say how it was trained"):
        write_card(tmp_path / "a.safetensors")


def test_the_gpus_source_cuts_the_cpus_pairs(data: Path) -> None:
    light = Light(gamma=0, slope=0, blur_share=0, jpeg_share=0, noise_share=0, clip_share=0)
    source = PairSource(data, replace(small("tfeat").data, light=light), patch_size=32, seed=2)
    resident = ResidentSource(source, torch.device("cpu"))
    for step in (0, 7):
        ours, expected = resident.batch(step).numpy(), source.batch(step).astype(float)
        assert ours.shape == expected.shape and np.abs(ours - expected).mean() < 0.7
    torch.testing.assert_close(resident.batch(3), resident.batch(3))


def test_the_training_runs_from_the_gpus_source(data: Path, tmp_path: Path) -> None:
    run = training.PatchRun(small("tfeat"), data, tmp_path / "n.safetensors", training.Length(1.0, 12), "cpu", 0)
    run._source = ResidentSource(run._source, torch.device("cpu"))
    before = run._loss(run._tensor(run.batch(0))).item()
    run.steps(lambda _: None)
    assert run._loss(run._tensor(run.batch(0))).item() < before
