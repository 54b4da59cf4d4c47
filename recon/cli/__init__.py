"""The command ``recon``: a table of commands, one place where errors become sentences and exit codes.

A command's module is imported only when it is run, so that ``recon --help`` answers at once.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from recon.cli.values import convert_plainly

# name -> (module, function, one line for the help)
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "sfm": ("recon.cli.sfm", "sfm", "Photos in, 3D model out: camera poses, intrinsics, coloured points, a report."),
    "stitch": ("recon.cli.stitch", "stitch", "Photos in, panoramas out: any number, in any order."),
    "match": (
        "recon.cli.match",
        "match",
        "Two photos in, matches out: inliers of a homography, F or E, and a picture.",
    ),
    "recognize": ("recon.cli.recognize", "recognize", "Which known objects does a photo show, and where?"),
    "stereo": ("recon.cli.stereo", "stereo", "Two photos in, depth out: disparity, depth, points, a picture."),
    "localize": ("recon.cli.localize", "localize", "Where was this photo taken? Poses of new photos in a map."),
    "serve": ("recon.cli.serve", "serve", "Tell over HTTP where photos were taken; with a page to drop them on."),
    "dense": ("recon.cli.dense", "dense", "A map in; depth maps, a coloured cloud and a mesh out."),
    "export": ("recon.cli.export", "export", "Write a map for another program: COLMAP, PLY, nerfstudio, Bundler …"),
    "descriptors": ("recon.cli.zoo", "descriptors", "List the descriptors that --descriptor takes."),
    "train": ("recon.cli.train", "train", "Train a network of the zoo on photos with tracks."),
}
_GROUPS: dict[str, tuple[str, str, str]] = {
    "map": ("recon.cli.maps", "app", "Make a map of a COLMAP model of others; give a map its scale and place."),
    "zoo": ("recon.cli.zoo", "app", "List, measure and extend the descriptors: list, table, import."),
    "data": ("recon.cli.data", "app", "Make data to train and measure descriptors with."),
    "benchmark": ("recon.cli.benchmark", "app", "Measure recon side by side with its peers."),
}

_RESUMED = frozenset({"sfm", "dense", "train", "data"})
"""Those that keep finished work while they run."""

_INTERRUPTED = 130
convert_plainly()


class _LazyGroup(TyperGroup):
    """Loads the module of a command when it is run; the list of commands is made from the table alone."""

    _listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of ``recon`` itself."""
        self._listing = True
        super().format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the table."""
        return [*_COMMANDS, *_GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; for the list of commands only its name and help."""
        row = _COMMANDS.get(cmd_name) or _GROUPS.get(cmd_name)
        if row is None:
            return None
        module, attribute, summary = row
        if self._listing:
            return typer.core.TyperCommand(name=cmd_name, help=summary)
        loaded = getattr(importlib.import_module(module), attribute)
        if cmd_name in _GROUPS:
            return typer.main.get_command(loaded)
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name=cmd_name, help=loaded.__doc__)(loaded)
        return typer.main.get_command(app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments begin with; an unknown one is told with the nearest known."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            from pipelines.core.errors import ConfigError

            near = difflib.get_close_matches(name.lower(), known, n=1)
            what = f"There is no command {name!r}"
            try_ = f"recon {near[0]}, or recon --help" if near else "recon --help"
            raise ConfigError(what, f"known are {', '.join(known)}", try_)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    help="Photos in; 3D models, camera poses and matches out, with any local descriptor.",
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("recon"))
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> NoReturn:
    """Run a command; errors end as one sentence, and all ends by :class:`SystemExit` with a documented exit code."""
    from pipelines.core.errors import ConfigError, InputError, OutputError, ReconError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A name that the terminal cannot show must not end a run.
            stream.reconfigure(errors="backslashreplace")
    code = 0
    try:
        code = app(prog_name="recon", standalone_mode=False) or 0
    except ReconError as error:
        _fail(error.sentence, error.exit_code)
    except _descriptor_error() as error:
        from descriptors.datasets.scenes import DataError

        _fail(str(error), (InputError if isinstance(error, DataError) else ConfigError).exit_code)
    except typer.TyperException as error:
        _fail_usage(error)
    except MemoryError:
        _fail("There is not enough memory. Try: a smaller --max-size or --max-keypoints.", OutputError.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # products' files have told of it themselves
            _fail("What was said cannot be written: the disk is full. Try: another place.", OutputError.exit_code)
        if not _interrupted(error):
            raise
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        name = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        kept = " Finished work is kept: the same command goes on from here." if name in _RESUMED else ""
        _fail(f"Interrupted.{kept}", _INTERRUPTED)
    sys.exit(code)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt is behind an error, as where it meets a library that is loading or compiled code."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _descriptor_error() -> type[Exception]:
    """The errors of the descriptors' package, which is imported only when one is to be told apart."""
    from descriptors.contract import DescriptorError

    return DescriptorError


def _fail_usage(error: typer.TyperException) -> None:
    """The command line itself was wrong; a group without a command shows its help."""
    message = error.format_message().strip()
    if not message or "\n" in message:
        print(message, end="", file=sys.stderr)
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "recon"
    _fail(f"{message.rstrip('.')}. Try: {command} --help.", error.exit_code)


def _fail(sentence: str, code: int) -> NoReturn:
    from pipelines.core.errors import printable

    print(f"recon: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)
