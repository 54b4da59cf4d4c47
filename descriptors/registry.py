"""The table of descriptors by name. Importing it loads neither torch nor any weights.

A third party adds its own by the entry-point group ``recon.descriptors``: an object with ``spec``
(a :class:`DescriptorSpec`) that, when called without arguments, returns a :class:`Descriptor`. Or, without
installing anything, a name may be the path of a ``.py`` file that defines ``descriptor``, an object with ``spec``
and ``describe``, or of a ``.safetensors`` file with the weights of a network of the zoo, trained or imported.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from descriptors.contract import (
    Descriptor,
    DescriptorError,
    DescriptorSpec,
    Loader,
    PairScorer,
    PairScorerSpec,
    unknown,
)
from descriptors.headers import read_header

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "recon.descriptors"


class Entry(NamedTuple):
    """One row of the zoo: the spec, and where the code that loads it stands (imported on first use)."""

    spec: DescriptorSpec
    module: str
    factory: str = "load"

    def __call__(self) -> Descriptor:
        """Load the descriptor."""
        return getattr(importlib.import_module(self.module), self.factory)(self.spec)


_LOWE = "Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004"
_ARANDJELOVIC = "Arandjelovic and Zisserman, Three things everyone should know, CVPR 2012"
_MIKOLAJCZYK = "Mikolajczyk and Schmid, A performance evaluation of local descriptors (GLOH), PAMI 2005"
_RUBLEE = "Rublee et al., ORB: an efficient alternative to SIFT or SURF, ICCV 2011"
_LEUTENEGGER = "Leutenegger, Chli and Siegwart, BRISK: Binary robust invariant scalable keypoints, ICCV 2011"
_ALAHI = "Alahi, Ortiz and Vandergheynst, FREAK: Fast retina keypoint, CVPR 2012"
_TOLA = "Tola, Lepetit and Fua, DAISY: An efficient dense descriptor applied to wide-baseline stereo, PAMI 2010"
_LEVI = "Levi and Hassner, LATCH: Learned arrangements of three patch codes, WACV 2016"
_SUAREZ = "Suarez et al., BEBLID: Boosted efficient binary local image descriptor, PRL 2020"
_SUAREZ_2 = "Suarez, Buenaposada and Baumela, Revisiting binary local image description, RA-L 2021"
_TRZCINSKI = "Trzcinski et al., Boosting binary keypoint descriptors (BinBoost), CVPR 2013"
_SIMONYAN = "Simonyan, Vedaldi and Zisserman, Learning local feature descriptors using convex optimisation, PAMI 2014"
_BALNTAS = "Balntas et al., Learning local feature descriptors with triplets, BMVC 2016"
_TIAN = "Tian, Fan and Wu, L2-Net: Deep learning of discriminative patch descriptor, CVPR 2017"
_SIMOSERRA = "Simo-Serra et al., Discriminative learning of deep convolutional feature point descriptors, ICCV 2015"
_MISHCHUK = "Mishchuk et al., Working hard to know your neighbor's margins (HardNet), NIPS 2017"
_TIAN_SOS = "Tian et al., SOSNet: Second order similarity regularization for local descriptor learning, CVPR 2019"
_TIAN_HY = "Tian et al., HyNet: Learning local descriptor with hybrid similarity measure, NeurIPS 2020"
_OWN = "recon's own, made for CPUs"
_HAN = "Han et al., MatchNet: Unifying feature and metric learning for patch-based matching, CVPR 2015"
_ZAGORUYKO = "Zagoruyko and Komodakis, Learning to compare image patches via convolutional networks, CVPR 2015"
_KUMAR = "Kumar, Carneiro and Reid, Learning local image descriptors with deep siamese and triplet networks, CVPR 2016"


def _opencv(name: str, bits: int, source: str, *, patch_size: int, magnification: float, ratio: float) -> Entry:
    """Row of a binary descriptor that OpenCV computes."""
    spec = DescriptorSpec(
        name, bits, "binary", "hamming", patch_size=patch_size, magnification=magnification, ratio=ratio, source=source
    )
    return Entry(spec, "descriptors.opencv")


def _network(
    name: str, dim: int, parameters: int, source: str, *, ratio: float = 0.85, patch_size: int = 32,
    magnification: float = 7.5,
) -> Entry:  # fmt: skip
    """Row of a network that describes patches; its weights are NAME.safetensors."""
    spec = DescriptorSpec(
        name, dim, patch_size=patch_size, magnification=magnification, ratio=ratio, parameters=parameters,
        weights=f"{name}.safetensors", source=source,
    )  # fmt: skip
    return Entry(spec, "descriptors.runtime")


def _signs(network: Entry) -> Entry:
    """Row of the signs of a network's output as bits, from the network's own weights."""
    spec = replace(network.spec, name=f"binary-{network.spec.name}", kind="binary", distance="hamming", ratio=0.85)
    return Entry(spec, "descriptors.binary")


# The networks are trained at 7.5 sigma, the reach of SIFT; on the validation scenes L2-Net matches better with it than
# with 6. The whole patch of a central-surround one reaches 9 sigma: its halved tower then sees a bit more than L2-Net
# does, which there gained up to 8, and the central tower still sees 4.5 sigma at twice the resolution.
_L2NET = _network("l2net", 128, 1_334_560, _TIAN, ratio=0.8)
_L2NET_PLUS = _network("l2net-plus", 128, 1_334_560, _TIAN, ratio=0.8)
_CS_L2NET = _network("cs-l2net", 256, 2_669_120, _TIAN, patch_size=64, magnification=9.0, ratio=0.85)
_CS_L2NET_PLUS = _network("cs-l2net-plus", 256, 2_669_120, _TIAN, patch_size=64, magnification=9.0)
_NETWORKS: tuple[Entry, ...] = (
    _network("deepdesc", 128, 280_320, _SIMOSERRA, patch_size=64, ratio=0.85),
    _network("tfeat-margin", 128, 599_808, _BALNTAS, ratio=0.85),
    _network("tfeat-ratio", 128, 599_808, _BALNTAS, ratio=0.825),
    _network("gloss-tnet-tloss", 256, 1_040_800, _KUMAR, patch_size=64, ratio=0.825),
    _network("gloss-tnet-tgloss", 256, 1_040_800, _KUMAR, patch_size=64, ratio=0.825),
    _L2NET,
    _L2NET_PLUS,
    _CS_L2NET,
    _CS_L2NET_PLUS,
    *(_signs(network) for network in (_L2NET, _L2NET_PLUS, _CS_L2NET, _CS_L2NET_PLUS)),
    _network("hardnet", 128, 1_334_560, _MISHCHUK, ratio=0.85),
    _network("sosnet", 128, 1_334_560, _TIAN_SOS, ratio=0.875),
    _network("hynet", 128, 1_336_355, _TIAN_HY, ratio=0.875),
    _network("swift", 128, 540_256, _OWN, ratio=0.85),
    _network("swift-small", 128, 353_352, _OWN, ratio=0.825),
    _network("swift-large", 128, 872_672, _OWN, ratio=0.825),
)

# Made for every pixel of a picture (recon stereo), not for keypoints: trained on made pairs, by a recipe of its own.
_DENSE_NETWORKS: tuple[Entry, ...] = (_network("swift-stereo", 64, 23_128, _OWN, patch_size=11),)

_BUILT_IN: tuple[Entry, ...] = (
    # 7.5 sigma: SIFT's four cells of 3 sigma and the half cell around them that bilinear sharing reaches into.
    Entry(DescriptorSpec("sift", 128, magnification=7.5, ratio=0.85, source=_LOWE), "descriptors.handcrafted"),
    Entry(
        DescriptorSpec("rootsift", 128, magnification=7.5, ratio=0.9, source=_ARANDJELOVIC),
        "descriptors.handcrafted",
    ),
    # The same reach as SIFT's for GLOH's cells. DAISY's wide Gaussians like more of the photo: matching and rank 1 on
    # the validation scenes are 0.498 and 0.961 at 10, 0.451 and 0.950 at 7.5.
    Entry(DescriptorSpec("gloh", 272, magnification=7.5, ratio=0.825, source=_MIKOLAJCZYK), "descriptors.handcrafted"),
    Entry(
        DescriptorSpec("rootgloh", 136, magnification=7.5, ratio=0.825, source=_MIKOLAJCZYK), "descriptors.handcrafted"
    ),
    Entry(DescriptorSpec("rootdaisy", 200, magnification=10.0, ratio=0.825, source=_TOLA), "descriptors.handcrafted"),
    # Patch size: the reach of the sampling pattern. Magnification: ORB's own for keypoints whose sigma is a twelfth
    # of ORB's size (as our ORB detector gives them); BEBLID to VGG as their authors advise for SIFT's keypoints;
    # LATCH, BRISK, FREAK and DAISY, made for keypoints without scale or of other detectors, by matching and false
    # positives on the validation scenes, out of 4 to 20.
    _opencv("orb", 256, _RUBLEE, patch_size=33, magnification=6.387, ratio=0.775),
    _opencv("brisk", 512, _LEUTENEGGER, patch_size=64, magnification=10.0, ratio=0.8),
    _opencv("freak", 512, _ALAHI, patch_size=64, magnification=15.0, ratio=0.75),
    _opencv("latch", 256, _LEVI, patch_size=55, magnification=7.5, ratio=0.85),
    _opencv("beblid", 512, _SUAREZ, patch_size=32, magnification=6.75, ratio=0.825),
    _opencv("teblid", 512, _SUAREZ_2, patch_size=32, magnification=6.75, ratio=0.825),
    _opencv("boostdesc", 256, _TRZCINSKI, patch_size=32, magnification=6.75, ratio=0.825),
    Entry(
        DescriptorSpec("vgg", 120, patch_size=64, magnification=6.75, ratio=0.9, source=_SIMONYAN),
        "descriptors.opencv",
    ),
    Entry(
        DescriptorSpec("daisy", 200, patch_size=32, magnification=10.0, ratio=0.775, source=_TOLA),
        "descriptors.opencv",
    ),
    *_NETWORKS,
    *_DENSE_NETWORKS,
)


def _scorer(
    name: str, width: int, parameters: int, source: str, *, threshold: float, margin: float, embeds: bool = False
) -> PairScorerSpec:
    """Row of a metric network that has features of one patch."""
    shortlist = f"{name}-l2" if embeds else "rootsift"
    return PairScorerSpec(
        name, width, embeds=embeds, shortlist=shortlist, threshold=threshold, margin=margin, parameters=parameters,
        weights=f"{name}.safetensors", source=source,
    )  # fmt: skip


def _two_channel(name: str, parameters: int, source: str, *, threshold: float, margin: float) -> PairScorerSpec:
    """Row of a metric network that reads pairs of patches, bytes as they are."""
    return PairScorerSpec(
        name, 64 * 64, raw=True, threshold=threshold, margin=margin, parameters=parameters,
        weights=f"{name}.safetensors", source=source,
    )  # fmt: skip


# Thresholds and margins are those that `python -m descriptors.training.ratio NAME --data DIR --pairs 1` advises.
_METRIC_NETWORKS: tuple[PairScorerSpec, ...] = (
    _scorer("matchnet", 512, 3_119_602, _HAN, threshold=4.99, margin=2.343, embeds=True),
    _scorer("deepcompare-siam", 256, 1_171_585, _ZAGORUYKO, threshold=1.566, margin=1.613),
    _scorer("deepcompare-pseudo-siam", 512, 2_080_001, _ZAGORUYKO, threshold=1.078, margin=0.965),
    _scorer("deepcompare-siam-2stream", 512, 3_451_457, _ZAGORUYKO, threshold=1.88, margin=0.853, embeds=True),
    _two_channel("deepcompare-2ch", 979_169, _ZAGORUYKO, threshold=1.012, margin=1.695),
    _two_channel("deepcompare-2ch2stream", 2_353_153, _ZAGORUYKO, threshold=1.027, margin=0.03),
    _two_channel("gloss-snet", 979_969, _KUMAR, threshold=0.8, margin=0.693),
    _two_channel("gloss-cs-snet", 2_355_073, _KUMAR, threshold=0.791, margin=0.683),
)
_SCORERS: dict[str, PairScorerSpec] = {spec.name: spec for spec in _METRIC_NETWORKS}


def _features_of(name: str, *, parameters: int, ratio: float) -> Entry:
    """Row of the features of a metric network as a descriptor."""
    scorer = _SCORERS[name]
    spec = DescriptorSpec(
        f"{name}-l2", scorer.width, patch_size=scorer.patch_size, magnification=scorer.magnification, ratio=ratio,
        parameters=parameters, weights=scorer.weights, source=scorer.source,
    )  # fmt: skip
    return Entry(spec, "descriptors.scorers", "load_features")


_FEATURES: tuple[Entry, ...] = (
    _features_of("matchnet", parameters=2_331_120, ratio=0.825),
    _features_of("deepcompare-siam-2stream", parameters=2_400_832, ratio=0.8),
)
_ROWS: dict[str, Entry] = {entry.spec.name: entry for entry in _BUILT_IN + _FEATURES}


@cache
def _table() -> dict[str, Loader]:
    """Built-in rows and those of installed packages, which cannot replace them; looking for these takes 30 ms."""
    table: dict[str, Loader] = dict(_ROWS)
    for point in entry_points(ENTRY_POINT_GROUP):
        try:
            loader = point.load()
            table.setdefault(loader.spec.name, loader)
        except Exception as broken:  # whatever other people's code does
            warnings.warn(
                f"The descriptor {point.name} of an installed package ({point.value}) cannot be used: "
                f"{type(broken).__name__}: {broken}",
                stacklevel=2,
            )
    return table


def entry_points(group: str) -> Iterable[EntryPoint]:
    """What installed packages offer under a group."""
    from importlib.metadata import entry_points as installed

    return installed(group=group)


def names() -> list[str]:
    """Names of all descriptors, built in and installed by others, in the order of the table."""
    return list(_table())


_ALIASES = {"tfeat": "tfeat-margin"}
"""Names under which a row was known before, and the row."""
_ROW_OF = {**_ALIASES, "tnet": "gloss-tnet-tgloss"}
"""Networks whose rows have other names than they, and the row that weights of the user's own are used as."""


def _network_file(path: Path) -> Entry:
    """A network with weights of the user's own; magnification and ratio are those of the zoo's own weights."""
    header = read_header(path)
    network = header.get("network", "")
    name = _ROW_OF.get(network, network)
    base = next((entry.spec for entry in _NETWORKS + _DENSE_NETWORKS if entry.spec.name == name), None)
    if network in _SCORERS:
        raise DescriptorError(
            f"{path} holds the metric network {network!r}, which is known by its name alone: it is used when it takes "
            f"the place of {network}.safetensors in descriptors/weights."
        )
    if base is None:
        raise DescriptorError(f"{path} holds the network {network!r}, which is no descriptor of this version of recon.")
    return Entry(replace(base, name=path.stem, weights=str(path.resolve())), "descriptors.runtime")


def _entry(name: str) -> Loader:
    name = _ALIASES.get(name, name)
    if name in _ROWS:
        return _ROWS[name]
    table = _table()
    if name not in table and name.endswith(".safetensors"):
        return _network_file(Path(name))
    if name not in table and name.endswith(".py"):
        from descriptors.own_file import from_file

        try:
            return from_file(Path(name), Path(name).read_bytes())
        except OSError as error:
            raise DescriptorError(f"The descriptor file {name} cannot be read: {error.strerror}.") from error
    if name in _SCORERS:
        raise DescriptorError(
            f"{name} compares pairs of patches and describes none. Load it with descriptors.load_scorer({name!r}); "
            f"its candidates come from {_SCORERS[name].shortlist}."
        )
    if name not in table and Path(name).is_file():
        raise DescriptorError(
            f"{name} is no descriptor: of files, .py and .safetensors are. A network in another form is run from a .py "
            "file ('Your own' in descriptors/README.md); published checkpoints are read by recon zoo import."
        )
    if name not in table:
        raise unknown("descriptor", name, all_names())
    return table[name]


def spec(name: str) -> DescriptorSpec:
    """Spec of a descriptor by name, without loading it.

    Raises:
        DescriptorError: no descriptor has this name; the message names the nearest one.
    """
    return _entry(name).spec


@cache
def load(name: str) -> Descriptor:
    """Load a descriptor by name; loading the same name twice gives the same object.

    Raises:
        DescriptorError: no descriptor has this name; the message names the nearest one.
    """
    return _entry(name)()


# --- metric networks -----------------------------------------------------------------------------------------


def scorer_names() -> list[str]:
    """Names of all metric networks."""
    return list(_SCORERS)


def scorer_spec(name: str) -> PairScorerSpec:
    """Spec of a metric network by name, without loading it.

    Raises:
        DescriptorError: none has this name; the message names the nearest one.
    """
    if name not in _SCORERS:
        raise unknown("pair scorer", name, _SCORERS)
    return _SCORERS[name]


@cache
def load_scorer(name: str) -> PairScorer:
    """Load a metric network by name; loading the same name twice gives the same object.

    Raises:
        DescriptorError: none has this name; the message names the nearest one.
    """
    from descriptors import scorers

    return scorers.load(scorer_spec(name))


def all_names() -> list[str]:
    """Names of all descriptors, then of all metric networks: what ``--descriptor`` takes."""
    return [*_table(), *_SCORERS]


def any_spec(name: str) -> DescriptorSpec | PairScorerSpec:
    """Spec of a descriptor or of a metric network by name; errors as of :func:`spec`."""
    return _SCORERS[name] if name in _SCORERS else spec(name)


def scorer_for(name: str) -> PairScorer | None:
    """The scorer that re-ranks what a name finds: that of a metric network, None for a descriptor."""
    return load_scorer(name) if name in _SCORERS else None


def shortlist(name: str) -> str:
    """The descriptor whose neighbours are compared under a name: a metric network's shortlist, a descriptor itself."""
    return _SCORERS[name].shortlist if name in _SCORERS else name


def fingerprint(name: str) -> str:
    """Hex digest of all that describes and compares patches under a name, of a descriptor or a metric network.

    Raises:
        DescriptorError: nothing has this name; the message names the nearest one.
    """
    descriptor, scorer = load(shortlist(name)), scorer_for(name)
    if scorer is None:
        return descriptor.fingerprint
    return hashlib.sha256(f"{descriptor.fingerprint} {scorer.fingerprint}".encode()).hexdigest()
