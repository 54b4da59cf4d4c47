"""The table of the zoo: rows replaced one by one, bits compared by Hamming distance, figures of a made scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from descriptors import DescriptorError, registry
from descriptors.benchmarks import zoo
from descriptors.distances import nearest as nearest_bits
from descriptors.training.validate import Figures, as_vectors, nearest
from pipelines.core.errors import InputError
from recon.cli import app

TEXT = f"# Title\n\nBefore.\n\n{zoo.BEGIN}\n{zoo.END}\n\nAfter.\n"


def row(name: str, speed: float = 1234.0) -> zoo.Row:
    return zoo.Row(name, "128", "L2", 599_808, 1_201_192, speed, Figures(0.0163, 0.888, 0.4951), 12.4)


def test_a_row_says_all():
    text = zoo.merged(TEXT, [row("one")], ["one"])
    assert "| `one` | 128 | L2 | 599,808 | 1,201 | 1,200 | 0.495 | 0.888 | 1.63 % | 12 min |" in text
    assert text.startswith("# Title\n\nBefore.\n") and text.endswith("\nAfter.\n")
    header, rule = (line for line in text.splitlines() if line.startswith(("| name", "| ---")))
    assert header.count("|") == rule.count("|") == 11


def test_rows_are_replaced_and_stand_in_the_registrys_order():
    names = ["one", "two", "three"]
    text = zoo.merged(TEXT, [row("three")], names)
    text = zoo.merged(text, [row("one"), row("gone")], names)
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == ["one", "three"]
    text = zoo.merged(text, [row("three", speed=77.0)], names)
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == 2 and "| 1,200 |" in lines[0] and "| 77 |" in lines[1]
    assert zoo.merged(text, [], names) == text


@pytest.mark.parametrize("text", ["nothing", zoo.BEGIN, f"{zoo.END} {zoo.BEGIN}", TEXT + TEXT])
def test_a_text_without_a_place_is_refused(text):
    with pytest.raises(DescriptorError, match="once each"):
        zoo.merged(text, [row("one")], ["one"])


def test_bits_as_vectors_have_hammings_order(rng):
    first, second = (rng.integers(0, 256, (60, 8), np.uint8) for _ in range(2))
    vectors = [as_vectors(lambda _, side=side: side, np.zeros(0, np.uint8)) for side in (first, second)]
    np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, rtol=1e-6)
    distance = np.unpackbits(first[:, None] ^ second[None], axis=2).sum(axis=2)
    np.testing.assert_allclose(64 * (1 - vectors[0] @ vectors[1].T) / 2, distance, atol=1e-4)
    best, ratio = nearest(*vectors)
    two = np.sort(distance, axis=1)[:, :2]
    np.testing.assert_allclose(ratio**2, two[:, 0] / two[:, 1], rtol=1e-5)
    assert (distance[np.arange(60), best] == two[:, 0]).all()
    assert (np.sort(nearest_bits(first, second, 2, distance="hamming")[1], axis=1) == two).all()


def test_the_readme_has_its_place_and_names_only_what_there_is():
    text = (Path(zoo.__file__).parent.parent / "README.md").read_text("utf-8")
    assert text.count(zoo.BEGIN) == text.count(zoo.END) == 1
    in_table = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert set(in_table) <= set(registry.all_names())


def test_a_kill_leaves_the_text_whole(tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    monkeypatch.setattr(zoo, "measure", lambda name, _: row(name))
    given = ["zoo", "table", "--data", str(tmp_path), "--only", "swift", "--readme", str(path)]
    with monkeypatch.context() as patch:
        patch.setattr("descriptors.files.os.replace", killed)
        assert isinstance(CliRunner().invoke(app, given).exception, SystemExit | KeyboardInterrupt)
    assert path.read_text() == TEXT and [*tmp_path.iterdir()] == [path]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert "| `swift` | 128 |" in path.read_text()


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("content", [None, b"nothing", b"\xff\xfe"])
def test_a_text_that_cannot_be_written_to_is_told_before_anything_is_measured(tmp_path, monkeypatch, content):
    path = tmp_path / "README.md"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(zoo, "measure", killed)
    told = CliRunner().invoke(app, ["zoo", "table", "--data", str(tmp_path), "--readme", str(path)])
    assert isinstance(told.exception, DescriptorError | InputError)


@pytest.mark.real
def test_measures_a_binary_descriptor(shared_data, monkeypatch):
    monkeypatch.setattr(zoo, "_validation", lambda *given: small_validation(*given))
    found = zoo.measure("orb", shared_data)
    assert (found.dimensions, found.metric, found.parameters, found.size) == ("256 bits", "Hamming", 0, 0)
    # Far better than chance, far from perfect: BRIEF's family under changes of viewpoint.
    assert 0.3 < found.figures.rank1 < 0.95
    assert 0 < found.figures.fpr95 < 0.5


def small_validation(data_dir: Path, patch_size: int, magnification: float) -> zoo.ValidationSet:
    return zoo.ValidationSet(data_dir, patch_size=patch_size, magnification=magnification, points=40, keypoints=40)
