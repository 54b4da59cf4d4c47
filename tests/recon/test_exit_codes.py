"""What the commands' help says of their exit codes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recon.cli import dense, export, localize, maps, match, recognize, sfm, stereo, stitch

COMMANDS = (
    dense.dense, export.export, localize.localize, maps.import_, maps.align, match.match, recognize.recognize, sfm.sfm,
    stereo.stereo, stitch.stitch,
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_the_code_of_an_interrupted_command_is_told(command: Callable) -> None:
    assert "130 interrupted." in " ".join((command.__doc__ or "").split())
