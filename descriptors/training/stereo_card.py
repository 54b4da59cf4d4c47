"""The card of a matching cost's weights, written from the header of the file and the log beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from descriptors import registry
from descriptors.files import write_whole
from descriptors.headers import read_header
from descriptors.training.curve import read_log, still_falling

_PAIRS = (
    "Made stereo pairs (`descriptors/datasets/stereo_pairs.py`): photos and printed sheets on slanted and curved "
    "pieces in front of each other, with exact disparities, occlusions, thin and textureless pieces; {unlike:.0%} of "
    "them are taken by cameras that expose, blur and scatter differently. The photos are nine tenths of an ImageNet "
    "sample and of BSDS, and every fourth photo of the scenes below."
)
_RENDERED = (
    "Rendered rooms (`python -m sample_data.rooms --training`): sheets, boxes, turned bodies and rods before walls, "
    "some of them bare, ray-traced with exact disparities; two cameras add noise at every crop. They wear nine tenths "
    "of an ImageNet sample and of BSDS, and every third photo of the scenes below."
)
_HOW = (
    "The network begins as a census transform with adaptive support, whose sharpness, reach and fading were chosen on "
    "rendered rooms (`sample_data/rooms.py`, which wear held-out photos and photos of validation scenes), as was how "
    "long and how fast it is trained. The training goes through semi-global matching: of the softmax of costs summed "
    "over eight paths, the probability of disparities off by more than a pixel, wherever both pictures show the place. "
    "Adam with a cosine from {rate:g} (the first layer's {first:g} times that) down to 0, {pairs} crops of "
    "{crop[0]}×{crop[1]} px a step, photographed anew each time. Which pixels are compared stays; the "
    "penalties and the scale of the cost are learnt with it: "
)


def write_stereo_card(weights: Path) -> Path:
    """Write ``NAME.md`` beside ``NAME.safetensors``."""
    header = read_header(weights)
    card = weights.with_suffix(".md")
    write_whole(card, _text(weights, header, read_log(weights.with_suffix(".log.jsonl"))).encode())
    return card


def _text(weights: Path, header: dict[str, str], rows: list[dict[str, Any]]) -> str:
    recipe, figures = json.loads(header["recipe"]), json.loads(header["validation"])
    sources = json.loads(header["sources"])
    table = "\n".join(
        ["| scene | source, licence as stated |", "|---|---|", *(f"| {s} | {t} |" for s, t in sources.items())]
    )
    parts = [
        f"# {weights.name}",
        _what_it_is(weights.stem, header),
        "## Trained on",
        (_RENDERED if "rendered" in header["data"] else _PAIRS.format(unlike=1 - recipe["looks"]["alike"]))
        if sources
        else f"Made stereo pairs that wear {header['data']}.",
        *([table] if sources else []),
        "No photo is in the weights' file. Never seen, neither for training nor for any choice: Middlebury, Oxford, "
        "HPatches, Strecha, stitching and object sets. Never trained on: the nine validation scenes.",
        "## How",
        _HOW.format(**recipe) + _scales(header),
        *_how(header, rows),
        "## Figures on what was held out",
        f"Made pairs that wear every tenth photo, after the eight paths, neither checked nor filled: right to 1 px at "
        f"{100 * figures['within_1']:.1f} % of the pixels that both pictures show, {100 * figures['at_edges']:.1f} % "
        f"within 4 px of a step in depth.",
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(name: str, header: dict[str, str]) -> str:
    network = f"Network `{header['network']}` in `descriptors/networks/stereo.py`"
    if name not in registry.names():
        return f"{network}; weights of the user's own."
    spec = registry.spec(name)
    size = f"{spec.patch_size}×{spec.patch_size} px"
    return f"{spec.source}. {spec.parameters:,} parameters, {spec.dim}-D, {size}. {network}."


def _scales(header: dict[str, str]) -> str:
    found = json.loads(header["scales"])
    return f"gain {found['gain']:.3f}, small {found['small']:.1f}, large {found['large']:.0f}."


def _how(header: dict[str, str], rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"{int(header['steps']):,} steps, {header['minutes']} minutes on {header['hardware']}, seed {header['seed']}."
    ]
    if header["started_from"]:
        lines.append(f"Begun with other weights of sha256 {header['started_from'][:16]}…, not with random ones.")
    if float(header.get("kept", 0)):
        lines.append(f"Of the first weights a share of {header['kept']} is in these, the rest is as trained.")
    fall = still_falling(rows)
    if float(header["done"]) < 1:
        lines.append(f"Stopped after {float(header['done']):.0%} of its time: the learning rate was not back at 0.")
    elif fall > 0.02:
        lines.append(f"Not converged: over the last fifth of the training the loss still fell by {fall:.0%}.")
    return lines
