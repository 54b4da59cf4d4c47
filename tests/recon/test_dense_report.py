"""The report of ``recon dense`` and the pages beside it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from pipelines.dense.folder import DenseFolder
from recon.report import dense


def test_a_page_of_somebody_else_beside_the_folder_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(b"caf\xe9</main>")
    monkeypatch.setattr(dense, "_sections", lambda *_: [])
    monkeypatch.setattr(dense, "_page_data", lambda _: {})
    (tmp_path / "dense").mkdir()
    folder = DenseFolder(tmp_path / "dense")
    dense.write_dense_report(folder, SimpleNamespace(result=SimpleNamespace(faces=0)))  # type: ignore[arg-type]
    assert folder.report.is_file() and page.read_bytes() == b"caf\xe9</main>"
