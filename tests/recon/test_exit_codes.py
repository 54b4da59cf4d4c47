"""What the commands' help says of their exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recon.cli import dense, export, localize, maps, match, recognize, sfm, stereo, stitch

COMMANDS = (
    dense.dense, export.export, localize.localize, maps.import_, maps.align, match.match, recognize.recognize, sfm.sfm,
    stereo.stereo, stitch.stitch,
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_the_code_of_an_interrupted_command_is_told(command: Callable) -> None:
    assert "130 interrupted." in " ".join((command.__doc__ or "").split())


@pytest.mark.parametrize("words, code", [(["descriptors"], 0), (["stich"], 2), (["stitch", "no-such-photo.jpg"], 3)])
def test_a_process_ends_with_its_code_and_all_that_it_said(tmp_path: Path, words: list[str], code: int) -> None:
    command = [sys.executable, "-m", "recon", *words]
    with open(tmp_path / "said", "wb") as said:
        done = subprocess.run(command, stdout=said, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "said").read_text().count("\n") > 20 if code == 0 else done.stderr.startswith("recon: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("words", [["--version"], ["zoo", "list"]], ids=["at the end", "while it speaks"])
def test_a_full_disk_under_the_output_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "recon", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith("recon: What was said cannot be written") and done.stderr.count("\n") == 1
