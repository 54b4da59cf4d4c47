"""The arrows of the design, held by a walk over every import statement, and by looking at what an import loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("descriptors", "pipelines", "recon")
PRODUCTS = ("sfm", "stitch", "stereo", "dense", "localize", "recognize")
# Modules (and everything below them) that may import pycolmap. The benchmark runs COLMAP's own pipeline as the peer.
PYCOLMAP_ALLOWED = ("pipelines.colmap", "pipelines.benchmarks")
TORCH_ALLOWED = (
    "descriptors.networks",
    "descriptors.training",
    "descriptors.runtime",
    "descriptors.packing",
    "descriptors.importing",
)
HEAVY = ("torch", "open3d", "pycolmap", "cv2", "matplotlib", "onnxruntime", "scipy", "numba")
MAX_LINES = 400
MAY_BE_LONGER: tuple[str, ...] = ()  # paths from the repository's root, each with a comment that says why


@dataclass(frozen=True)
class Import:
    """One imported name: ``importer`` holds, at ``line``, an import of the absolute dotted name ``target``."""

    importer: str
    target: str
    line: int


def inside(module: str, parents: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of ``parents`` or lies below one."""
    return any(module == parent or module.startswith(parent + ".") for parent in parents)


def imports(module: str, is_package: bool, source: str) -> Iterator[Import]:
    """Every import in a source text, wherever it stands: in functions, under TYPE_CHECKING, through importlib."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*kept, base] if base else kept)
            yield from (Import(module, f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield Import(module, str(first.value), node.lineno)


def upward(found: Import) -> bool:
    """An import against the arrows recon → pipelines → descriptors."""
    above = {"descriptors": ("pipelines", "recon"), "pipelines": ("recon",)}
    return inside(found.target, above.get(found.importer.split(".")[0], ()))


def sideways(found: Import) -> bool:
    """A product of pipelines that imports another product."""
    importer, target = found.importer.split("."), found.target.split(".")
    if importer[0] != "pipelines" or target[0] != "pipelines" or len(importer) < 2 or len(target) < 2:
        return False
    return importer[1] in PRODUCTS and target[1] in PRODUCTS and importer[1] != target[1]


def stray_pycolmap(found: Import) -> bool:
    """An import of pycolmap outside the one adapter."""
    return inside(found.target, ("pycolmap",)) and not inside(found.importer, PYCOLMAP_ALLOWED)


def stray_torch(found: Import) -> bool:
    """An import of torch outside networks, training and the runtime; safetensors.torch imports torch itself."""
    targets = ("torch", "safetensors.torch")
    return inside(found.target, targets) and not inside(found.importer, TORCH_ALLOWED)


RULES: dict[str, Callable[[Import], bool]] = {
    "lower layers do not import higher ones": upward,
    "products do not import each other": sideways,
    "pycolmap is imported by its adapter only": stray_pycolmap,
    "torch is imported by networks, training and runtime only": stray_torch,
}


def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        found += imports(module, is_package, path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("rule", RULES)
def test_imports_keep_the_rule(rule: str) -> None:
    found = all_imports()
    assert len(found) > 50, "the walk found hardly any import: it does not look where the code is"
    broken = [f"{one.importer}:{one.line} imports {one.target}" for one in found if RULES[rule](one)]
    assert not broken, f"{rule}:\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("descriptors.frames", "from pipelines import core", upward),
        ("descriptors.frames", "def f():\n    import recon.cli", upward),
        ("pipelines.core.types", "if TYPE_CHECKING:\n    from recon.workspace import Run", upward),
        ("pipelines.core.types", "importlib.import_module('recon.report')", upward),
        ("pipelines.stitch.blend", "from pipelines.sfm.report import x", sideways),
        ("pipelines.stitch.blend", "from pipelines import sfm", sideways),
        ("pipelines.stitch.blend", "from ..sfm import report", sideways),
        ("pipelines.sfm.mapping", "import pycolmap", stray_pycolmap),
        ("recon.cli.sfm", "from pycolmap import Database", stray_pycolmap),
        ("descriptors.registry", "import torch.nn as nn", stray_torch),
        ("descriptors.registry", "def f():\n    from safetensors.torch import load_file", stray_torch),
        ("pipelines.features.detect", "from torch import nn", stray_torch),
    ],
)
def test_a_broken_rule_is_seen(module: str, source: str, rule: Callable[[Import], bool]) -> None:
    assert any(rule(found) for found in imports(module, False, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("recon.cli.sfm", "from pipelines.sfm import reconstruct\nimport descriptors"),
        ("pipelines.features.describe", "import descriptors\nfrom . import detect"),
        ("pipelines.sfm.mapping", "from pipelines.sfm import why\nfrom pipelines import colmap"),
        ("pipelines.colmap", "def f():\n    import pycolmap"),
        ("descriptors.networks.l2net", "from torch import nn"),
        ("descriptors.runtime", "import torch\nfrom safetensors.torch import load_file"),
    ],
)
def test_a_proper_import_is_let_through(module: str, source: str) -> None:
    found = list(imports(module, False, source))
    assert found
    assert not [one for one in found if any(rule(one) for rule in RULES.values())]


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("descriptors", ""),
        ("descriptors.registry", ""),
        ("descriptors.contract", ""),
        ("recon.cli", ""),
        ("pipelines.sfm.run", "cv2"),  # whose start every map waits for
    ],
)
def test_import_loads_nothing_heavy(module: str, needs: str) -> None:
    program = f"import sys, {module} as m; assert m.__file__; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == needs, f"import {module} loads {done.stdout.strip()}"


UNUSED = (
    "numpy.ma", "scipy", "numba", "descriptors.runtime", "descriptors.scorers", "descriptors.rerank",
    "descriptors.views", "descriptors.own_file", "pipelines.geometry.two_view", "pipelines.images.cameras",
    "pipelines.matching.match", "pipelines.pairs", "pipelines.stitch.debug", "pipelines.stitch.flat",
)  # fmt: skip
"""What a panorama of a few photos of a turned camera does not need."""


def test_a_panorama_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    photos = sorted((ROOT / "sample_data" / "panorama" / "images").glob("*.jpg"))[:2]
    words = ["recon", "stitch", *map(str, photos), "-o", str(tmp_path / "panorama.jpg"), "--json", "--quiet"]
    program = (
        "import atexit, sys, recon.__main__ as m\n"
        f"sys.argv = {words!r}\n"
        f"atexit.register(lambda: print('loaded', *sorted(set(sys.modules) & {set(UNUSED)!r})))\n"
        "m.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"


def test_files_stay_short() -> None:
    paths = [path for top in (*PACKAGES, "sample_data", "tests") for path in sorted((ROOT / top).rglob("*.py"))]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    too_long = [f"{name}: {n} lines" for name, n in lengths.items() if n > MAX_LINES and name not in MAY_BE_LONGER]
    assert not too_long, f"more than {MAX_LINES} lines, a sign to split:\n" + "\n".join(too_long)


def test_every_declared_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        declared += extra

    def name(requirement: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()

    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    pinned = {name(pin) for pin in pins}
    assert all(pin.count("==") == 1 for pin in pins)
    assert not [one for one in declared if name(one) not in pinned and name(one) != project["name"]]
    assert not [pin for pin in pinned if pin.startswith("nvidia") or pin == "triton"], "constraints.txt pulls CUDA"
