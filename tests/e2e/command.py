"""Run ``recon`` as a user does, and look at what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from pipelines import colmap
from recon.cli import main

ROOT = Path(__file__).resolve().parents[2]

SMALL = ("--max-size", "512", "--max-keypoints", "1000")
"""Options that make a map of the twelve sample photos in a few seconds."""

QUICK = ("-q", *SMALL)


@dataclass(frozen=True)
class Outcome:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """The lines with which recon gave up."""
        return [line for line in self.err.splitlines() if line.startswith("recon: ")]


def recon(*words: object) -> Outcome:
    """``recon WORDS …`` in this process; an exception that a user would see as a traceback has code 1."""
    argv, sys.argv = sys.argv, ["recon", *map(str, words)]
    code = 0
    with _redirected(1) as out, _redirected(2) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.argv = argv
    outcome = Outcome(code, out.read_text("utf-8"), err.read_text("utf-8"))
    out.unlink()
    err.unlink()
    return outcome


@contextmanager
def _redirected(number: int) -> Iterator[Path]:
    """Standard output (1) or error (2) into a file: of Python, and of the libraries that write without it."""
    name = {1: "stdout", 2: "stderr"}[number]
    handle, path = tempfile.mkstemp(prefix="recon-e2e-")
    python, system = getattr(sys, name), os.dup(number)
    python.flush()
    os.dup2(handle, number)
    # Appended to, like the file that the libraries write to by its number.
    setattr(sys, name, open(path, "a", encoding="utf-8", buffering=1))  # noqa: SIM115
    try:
        yield Path(path)
    finally:
        getattr(sys, name).close()
        setattr(sys, name, python)
        os.dup2(system, number)
        os.close(system)
        os.close(handle)


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    """``recon WORDS …`` as a process of its own, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from recon.cli import main; main()", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore interrupts, and all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def assert_refused(outcome: Outcome, code: int, *words: str) -> None:
    """The documented exit code, one sentence that holds the words and says what to try, and no traceback."""
    assert outcome.code == code, outcome
    assert len(outcome.sentences) == 1, outcome
    assert outcome.err.splitlines()[-1] == outcome.sentences[0], outcome
    assert "Traceback" not in outcome.err and "Error" not in outcome.err, outcome
    for word in words:
        assert word in outcome.sentences[0], outcome
    assert any(advice in outcome.sentences[0] for advice in (" Try: ", "Did you mean", "it must be ")), outcome


def assert_complaint_only(outcome: Outcome, code: int, *words: str) -> None:
    """With --quiet, the sentence is all that is printed."""
    assert_refused(outcome, code, *words)
    assert outcome.out == "" and outcome.err.count("\n") == 1, outcome


def mirror(photos: Path, numbers: Iterable[int], folder: Path) -> None:
    """Put mirror images of sample photos into a folder: another scene, of the same make.

    SIFT does not see that it is the same one, but for what is symmetric and seen from the front: photos 5 to 7 have
    a few matches with their mirror images.
    """
    for number in numbers:
        pixels = cv2.imread(str(photos / f"courtyard_{number:02}.jpg"))[:, ::-1]
        cv2.imwrite(str(folder / f"mirrored_{number:02}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])


def drafts(folder: Path) -> list[Path]:
    """Half-written files and folders."""
    return [path for path in folder.rglob("*") if "draft" in path.name or path.name == ".sparse.before"]


def registered(folder: Path) -> list[list[str]]:
    """Names of the photos of each component."""
    paths = sorted((path for path in (folder / "sparse").iterdir() if path.is_dir()), key=lambda path: int(path.name))
    return [sorted(colmap.read_model(path).names) for path in paths]


def products(folder: Path) -> dict[str, bytes]:
    """Everything in a map that must not depend on when it was made, by relative path."""
    parts = [folder / "features", folder / "matches", folder / "sparse", folder / "database.db"]
    files = [file for part in parts for file in ([part] if part.is_file() else sorted(part.rglob("*")))]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.is_file()}


def times(folder: Path) -> dict[str, int]:
    """When each product was last written, ns."""
    return {name: (folder / name).stat().st_mtime_ns for name in products(folder)}
