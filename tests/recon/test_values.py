"""Options are converted without pydantic, and refused in typer's own words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import recon.cli  # noqa: F401  (it makes typer convert plainly)

app = typer.Typer()
got: list[object] = []


@app.command()
def take(
    names: list[str],
    count: int = 3,
    share: float = 0.5,
    path: Path | None = None,
    crop: Annotated[bool | None, typer.Option("--crop/--no-crop")] = None,
    limited: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    got[:] = [names, count, share, path, crop, limited]


def run(*words: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, list(words))
    return outcome.exit_code, outcome.output


def test_values_have_the_types_of_the_command():
    assert run("a", "b", "--count", "7", "--share", "1e-1", "--path", "x/y", "--no-crop")[0] == 0
    assert got == [["a", "b"], 7, 0.1, Path("x/y"), False, 1]
    assert run("a")[0] == 0 and got == [["a"], 3, 0.5, None, None, 1]


@pytest.mark.parametrize(
    "words", [("a", "--count", "many"), ("a", "--share", "half"), ("a", "--limited", "0"), ("a", "--count", "1.5"), ()]
)
def test_what_cannot_be_converted_is_refused(words):
    code, told = run(*words)
    assert code == 2 and told


def test_a_command_starts_without_pydantic():
    code = (
        "import sys\nfrom recon.cli import app\n"
        "try: app(['stitch', '/nowhere/*.jpg'], standalone_mode=False)\n"
        "except Exception as error: print(error, 'pydantic' in sys.modules, 'onnxruntime' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("No files match") and told.split()[-2:] == ["False", "False"]
