"""Figures that others published, to stand beside ours, always marked as published. None was measured here.

Sources are named row by row; MatchNet's and TFeat's rows of Brown are false positive rates as HardNet's authors
re-evaluated them (their own tables held false discovery rates).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        board, method: where it belongs, and of whom.
        subset: test set or task; "mean" for a mean over the published test sets.
        metric: key of :data:`descriptors.benchmarks.results.METRICS`.
        value: as a share where the metric is one.
        source: where it was read.
    """

    board: str
    method: str
    subset: str
    metric: str
    value: float
    source: str


_HARDNET = "Mishchuk et al., NIPS 2017, Table 1"
_DOAP = "He et al., CVPR 2018, Table 1"
_REVISITED = "ducha-aiki/brown_phototour_revisited"
_HPATCHES = "Balntas et al., CVPR 2017 (from memory of its figures)"
_MODS = "Mishchuk et al., NIPS 2017, Table 3 (MODS; other keypoints than ours)"
_SPEED = "Balntas et al., CVPR 2017 (their CPU)"

# Method, then FPR95 in % as ND>Lib, Yos>Lib, Lib>ND, Yos>ND, Lib>Yos, ND>Yos.
_SIX = (
    "trained notredame, tested liberty",
    "trained yosemite, tested liberty",
    "trained liberty, tested notredame",
    "trained yosemite, tested notredame",
    "trained liberty, tested yosemite",
    "trained notredame, tested yosemite",
)
_BROWN: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("SIFT", _HARDNET, (29.84, 29.84, 22.53, 22.53, 27.29, 27.29)),
    ("MatchNet (FPR, re-evaluated)", _HARDNET, (7.04, 11.47, 3.82, 5.65, 11.60, 8.70)),
    ("TFeat-M (FPR, re-evaluated)", _HARDNET, (7.39, 10.31, 3.06, 3.80, 8.06, 7.24)),
    ("DeepCompare 2ch-2stream+", _HARDNET, (4.85, 7.20, 1.90, 2.11, 5.00, 4.10)),
    ("CS-SNet-GLoss+", _HARDNET, (3.69, 4.91, 0.77, 1.14, 3.09, 2.67)),
    ("L2-Net", _HARDNET, (3.64, 5.29, 1.15, 1.62, 4.43, 3.30)),
    ("L2-Net+", _HARDNET, (2.36, 4.70, 0.72, 1.29, 2.57, 1.71)),
    ("CS L2-Net+", _HARDNET, (1.71, 3.87, 0.56, 1.09, 2.07, 1.30)),
    ("HardNet+ (NIPS)", _HARDNET, (2.28, 3.25, 0.57, 0.96, 2.13, 2.22)),
    ("DOAP+", _DOAP, (1.54, 2.62, 0.43, 0.87, 2.00, 1.21)),
    ("BinBoost, 64 bit", _DOAP, (20.49, 21.67, 16.90, 14.54, 22.88, 18.97)),
    ("Binary L2-Net+, 128 bit", _DOAP, (7.44, 10.29, 3.81, 4.31, 8.81, 7.45)),
)
# Method, then mAP in % on yosemite, notredame, liberty; where two training sets are published, their mean.
_SNN: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("OpenCV SIFT", (53.16, 45.93, 46.00)),
    ("RootSIFT (kornia)", (58.24, 49.07, 49.65)),
    ("TFeat", (65.61, 54.84, 56.40)),
    ("HardNet", (70.48, 60.75, 62.35)),
    ("SOSNet", (70.11, 60.89, 62.41)),
)
# Method, verification, matching, retrieval: mAP in %, full split; None where no figure is at hand.
_TASKS: tuple[tuple[str, tuple[float | None, float | None, float | None]], ...] = (
    ("SIFT", (65.12, 25.47, 31.98)),
    ("RootSIFT", (58.53, 27.22, None)),
    ("DeepDesc", (79.51, 28.05, 44.55)),
    ("TFeat-M", (81.90, 32.64, 39.40)),
)


def _rows() -> list[Published]:
    rows = []
    for method, source, values in _BROWN:
        rows += [
            Published("brown", method, name, "fpr95", v / 100, source) for name, v in zip(_SIX, values, strict=True)
        ]
        rows.append(Published("brown", method, "mean", "fpr95", sum(values) / len(values) / 100, source))
    for method, three in _SNN:
        for name, value in zip(("yosemite", "notredame", "liberty"), three, strict=True):
            rows.append(Published("brown", method, name, "snn_map", value / 100, _REVISITED))
        rows.append(Published("brown", method, "mean", "snn_map", sum(three) / 300, _REVISITED))
    for method, tasks in _TASKS:
        for metric, task in zip(("verification_imbalanced", "matching", "retrieval"), tasks, strict=True):
            if task is not None:
                rows.append(Published("hpatches", method, "full", metric, task / 100, _HPATCHES))
    for method, inliers in (("RootSIFT", 169), ("TFeat-M", 265), ("L2-Net+", 304), ("HardNet+", 316)):
        rows.append(Published("oxford", method, "all", "inliers", inliers, _MODS))
    for method, speed in (("SIFT", 2251), ("RootSIFT", 2157), ("BRIEF, ORB", 333_000), ("DeepDesc", 100),
                          ("TFeat", 600), ("L2-Net (CS)", 79), ("HardNet", 714)):  # fmt: skip
        rows.append(Published("speed", method, "all", "patches_per_second", speed, _SPEED))
    return rows


PUBLISHED: tuple[Published, ...] = tuple(_rows())
