"""``recon descriptors``: the zoo as a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer


def descriptors(json_output: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False) -> None:
    """List the descriptors that --descriptor takes: size, kind, patch, parameters, source."""
    from descriptors.registry import names, spec
    from recon.cli.terminal import print_columns, print_json

    specs = [spec(name) for name in names()]
    if json_output:
        print_json([asdict(row) for row in specs])
        return
    print_columns(
        ("name", "size", "kind", "patch", "parameters", "source"),
        [
            (
                row.name,
                f"{row.dim} {'bits' if row.kind == 'binary' else 'floats'}",
                row.distance,
                f"{row.patch_size} px" if row.patch_size else "",
                f"{row.parameters:,}" if row.parameters else "handcrafted",
                row.source,
            )
            for row in specs
        ],
    )
