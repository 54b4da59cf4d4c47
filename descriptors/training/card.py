"""The card of weights: written from the header of the file and the log beside it, so that it cannot tell otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from descriptors import registry
from descriptors.contract import DescriptorError
from descriptors.files import write_whole
from descriptors.headers import read_header
from descriptors.networks import SCORERS, build
from descriptors.training.curve import read_log, still_falling

_STORED = "8 bits a weight in large layers, half precision in small ones"
_DESCRIBES = (
    " Trained in floats, whose figures stand below; describes in bytes (`descriptors/networks/rounded.py`), which "
    "changes them by less than 0.002."
)
_NEVER_SEEN = (
    "Never seen, neither for training nor for any choice: Oxford, HPatches, Strecha, stitching, stereo and object "
    "sets. The nine validation scenes were not trained on."
)
_COMMON = (
    "AdamW with warm-up and a cosine down to 0, peak {rate:g}, weight decay {decay:g}; batches of {pairs} pairs, of "
    "which {scenes} from scenes, views far apart in their tracks preferred, and {photos} from warped photos. The "
    "papers have SGD on pairs or triplets drawn from Brown's patches.",
    "Patches are cut at DoG keypoints' frames, {magnification:g} sigma to each side, and disturbed: {jitter}; then "
    "gamma σ {light[gamma]:g}, slopes of light σ {light[slope]:g}, blur up to {light[blur]:g} px "
    "({light[blur_share]:.0%} of them), noise ({light[noise_share]:.0%}), JPEG {light[jpeg][0]} to {light[jpeg][1]} "
    "({light[jpeg_share]:.0%}) and clipped highlights or shadows ({light[clip_share]:.0%}).",
)


def write_card(weights: Path) -> Path:
    """Write ``NAME.md`` beside ``NAME.safetensors``.

    Raises:
        DescriptorError: the file is no weights of a training.
    """
    header = read_header(weights)
    if "recipe" not in header:
        raise DescriptorError(f"{weights} does not say how it was trained; only trained weights get a card.")
    card = weights.with_suffix(".md")
    rows = read_log(weights.with_suffix(".log.jsonl"))
    write_whole(card, _text(weights, header, rows).encode())
    return card


def _text(weights: Path, header: dict[str, str], rows: list[dict[str, Any]]) -> str:
    recipe, figures = json.loads(header["recipe"]), json.loads(header["validation"])
    data = recipe["data"]
    values = {
        "rate": recipe["learning_rate"], "decay": recipe["weight_decay"],
        "scenes": sum(data["scenes"]), "photos": sum(data["photos"]), "pairs": sum(data["scenes"] + data["photos"]),
        "magnification": data["magnification"], "light": data["light"],
        "jitter": ", ".join(
            [f"{key} σ {data['jitter'][key]:g}" for key in ("shift", "scale", "angle", "shear")]
            + (["quarter turns and flips"] if data["jitter"]["turns"] else [])
        ),
    }  # fmt: skip
    differs = [*recipe.get("differs", ()), *_negatives(recipe), *(line.format(**values) for line in _COMMON)]
    parts = [
        f"# {weights.name}",
        _what_it_is(weights.stem, header),
        "## Trained on",
        *_trained_on(header),
        "## How",
        *_how(header, rows, recipe),
        "## Where it differs from the paper",
        "\n".join(f"- {line}" for line in differs),
        "## Figures on what was held out",
        f"| matching | rank 1 | FPR95 |\n|---|---|---|\n"
        f"| {figures['matching']:.3f} | {figures['rank1']:.3f} | {100 * figures['fpr95']:.2f} % |",
        "Matching: mean average precision of nearest neighbours over made views with changes of viewpoint, light, blur "
        "and JPEG. Rank 1 and false positives at 95 % recall: pairs of the same scene, far apart in their tracks, "
        "which SIFT found. `recon zoo table` measures all weights side by side.",
    ]
    return "\n\n".join(parts) + "\n"


def _negatives(recipe: dict[str, Any]) -> list[str]:
    """How a metric network's were found, see :class:`descriptors.training.scored.Candidates`."""
    if recipe["network"] not in SCORERS:
        return []
    hardest = recipe["loss"]["hardest"]  # a number in weights that are older than shortlisted candidates
    count, shortlisted = (hardest["count"], hardest["shortlisted"]) if isinstance(hardest, dict) else (hardest, False)
    among = f"RootSIFT's {count} nearest of the batch" if shortlisted else f"{count} random others"
    return [f"Every other negative is the hardest of {among}, the rest are random; the papers draw all at random."]


def _what_it_is(name: str, header: dict[str, str]) -> str:
    network = f"Network `{header['network']}` in `descriptors/networks/`"
    if name in registry.scorer_names():
        scorer = registry.scorer_spec(name)
        return (
            f"{scorer.source}. {scorer.parameters:,} parameters, a metric network, {scorer.patch_size} px. {network}."
        )
    if name not in registry.names():
        return f"{network}; weights of the user's own."
    spec = registry.spec(name)
    size = f"{spec.patch_size}×{spec.patch_size} patches"
    more = _DESCRIBES if hasattr(build(header["network"]), "deployed") else ""
    return f"{spec.source}. {spec.parameters:,} parameters, {spec.dim}-D, {size}. {network}, {_STORED}.{more}"


def _trained_on(header: dict[str, str]) -> list[str]:
    sources = json.loads(header.get("sources", "{}"))
    if not sources:
        return [f"{header['data'][0].upper()}{header['data'][1:]}."]
    table = "\n".join(
        ["| scene | source, licence as stated |", "|---|---|", *(f"| {s} | {t} |" for s, t in sources.items())]
    )
    return [
        "Photos with tracks of incremental maps made with SIFT, from the scenes below, and homography-warped views of "
        "single photos (an ImageNet sample and BSDS).",
        table,
        "Several are for research or non-commercial use or state no licence. No photo is in the weights' file; whoever "
        "uses it commercially should look at those licences first.",
        _NEVER_SEEN,
    ]  # fmt: skip


def _how(header: dict[str, str], rows: list[dict[str, Any]], recipe: dict[str, Any]) -> list[str]:
    done = float(header.get("done", 1))
    lines = [
        f"{int(header['steps']):,} steps, {int(header['pairs']):,} pairs, {header['minutes']} minutes on "
        f"{header.get('hardware', 'hardware that was not noted')}, seed {header['seed']}."
    ]
    if header.get("started_from"):
        named = f", those of {recipe['start']}," if recipe.get("start") else ""
        before = float(header.get("minutes_before", 0))
        told = f" that had been trained for {before:.0f} minutes before" if before else ""
        lines.append(
            f"Begun with other weights{named} of sha256 {header['started_from'][:16]}…{told}, not with random ones."
        )
    if float(header.get("kept", 0)):
        lines.append(
            f"A share of {header['kept']} of the first weights is in these, the rest is as trained (Wortsman et al., "
            "CVPR 2022)."
        )
    fall = still_falling(rows)
    if done < 1:
        lines.append(f"Stopped after {done:.0%} of its time: the learning rate was not back at 0.")
    elif fall > 0.02:
        lines.append(f"Not converged: over the last fifth of the training the loss still fell by {fall:.0%}.")
    elif rows:
        lines.append("Converged for its length: over the last fifth of the training the loss hardly changed.")
    if rows:
        lines.append("The curve stands in the `.svg` of the same name, where it was kept.")
    return lines
