"""``recon export`` on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from typer import Typer
from typer.testing import CliRunner

from pipelines.export import FORMATS
from recon.cli import export as command


def test_help_names_every_format() -> None:
    assert re.split(r", | or ", command._FORMATS) == list(FORMATS)
    assert all(re.search(rf"\b{name}\b", str(command.export.__doc__)) for name in FORMATS)


def test_prints_the_folder_it_made(tmp_path: Path) -> None:
    import numpy as np

    from pipelines import colmap
    from pipelines.core.maps import Camera, Model

    none = np.zeros(0, np.int32)
    model = Model(
        names=("a b.jpg", "c.jpg"),
        cameras=(Camera("SIMPLE_PINHOLE", 64, 48, (60.0, 31.5, 23.5), "given"),) * 2,
        cam_from_world=np.stack([np.eye(3, 4), np.eye(3, 4)]),
        xyz=np.zeros((0, 3)),
        rgb=np.zeros((0, 3), np.uint8),
        errors=np.zeros(0, np.float32),
        obs_image=none,
        obs_point=none,
        obs_keypoint=none,
        obs_xy=np.zeros((0, 2), np.float32),
    )
    colmap.write_model(colmap.from_model(model), tmp_path / "map" / "sparse" / "0")
    app = Typer()
    app.command()(command.export)
    result = CliRunner().invoke(app, [str(tmp_path / "map"), "--to", "poses", "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "map" / "export" / "poses")
    assert (tmp_path / "map" / "export" / "poses" / "poses.csv").read_text(encoding="utf-8").count("\n") == 3
