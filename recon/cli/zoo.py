"""``recon zoo …`` and ``recon descriptors``: the zoo as a list and as a measured table, and weights from elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, measure and extend the descriptors.")


@app.callback()
def _group() -> None:
    """List, measure and extend the descriptors."""


@app.command("list")
def descriptors(json_output: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False) -> None:
    """List what --descriptor takes, descriptors and metric networks: size, kind, patch, parameters, source."""
    from descriptors.registry import names, scorer_names, scorer_spec, spec
    from recon.cli.terminal import print_columns, print_json

    specs = [spec(name) for name in names()]
    scorers = [scorer_spec(name) for name in scorer_names()]
    if json_output:
        print_json([asdict(row) for row in specs] + [asdict(row) for row in scorers])
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
        ]
        + [
            (
                row.name,
                f"{row.width} {'bytes' if row.raw else 'floats'}",
                "learned",
                f"{row.patch_size} px",
                f"{row.parameters:,}",
                row.source,
            )
            for row in scorers
        ],
    )


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Checkpoint as its authors publish it.", show_default=False)],
    network: Annotated[str, typer.Option(help="tfeat, hardnet, sosnet or hynet.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="NAME.safetensors to write.", show_default=False)],
) -> None:
    """Turn a published checkpoint into weights that every command takes: --descriptor NAME.safetensors."""
    from descriptors.importing import import_checkpoint
    from descriptors.registry import spec

    import_checkpoint(file, network, out)
    typer.echo(f"{out}: {network}, {spec(str(out)).dim} floats. Use it: --descriptor {out}")


@app.command("table")
def table(
    data: Annotated[
        Path, typer.Option(help="Folder with scenes/, of which the validation scenes.", show_default=False)
    ],
    only: Annotated[list[str] | None, typer.Option(help="Measure this one only (repeatable); other rows stay.")] = None,
    readme: Annotated[Path | None, typer.Option(help="Text to write to; descriptors/README.md unless given.")] = None,
) -> None:
    """Measure the zoo on the validation scenes and write the table of descriptors/README.md, row by row."""
    import descriptors as library
    from descriptors.benchmarks import zoo
    from descriptors.benchmarks.contestants import ready
    from descriptors.files import write_whole
    from pipelines.core.errors import InputError
    from pipelines.store.files import write_errors

    path = (readme or Path(library.__file__).parent / "README.md").resolve()
    known = library.registry.all_names()
    try:
        text = zoo.merged(path.read_text("utf-8"), [], known)  # before anything is measured: is there a place?
    except (OSError, UnicodeDecodeError) as refused:
        raise InputError(f"{path} cannot be read as text", str(refused), "another with --readme") from None
    for name in only or ready():
        row = zoo.measure(name, data)
        text = zoo.merged(text, [row], known)
        with write_errors(path):
            write_whole(path, text.encode())
        typer.echo("  ".join(row.cells), err=True)
    typer.echo(str(path))
