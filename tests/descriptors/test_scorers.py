"""One battery for all metric networks: contract, sizes, graphs; weights are random ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scorer_weights import write_random
from torch import nn

import descriptors
from descriptors import runtime
from descriptors.contract import Descriptor, DescriptorError, PairScorer
from descriptors.networks import SCORERS, build
from descriptors.scorers import FeatureDescriptor, NetworkScorer

# A convolution of n filters, k px, c channels before it: n·k·k·c weights, n biases. A full layer likewise with k = 1.
# Batch norm has two numbers a channel, of which one stands for the bias. Layers as in FACTS §7.
_TRUNK = (96 * 49 + 96) + (192 * 25 * 96 + 192) + (256 * 9 * 192 + 256)
_TRUNK_2CH = _TRUNK + 96 * 49
_SIAM_STREAM = (96 * 16 + 96) + (192 * 9 * 96 + 192) + (256 * 9 * 192 + 256) + (256 * 9 * 256 + 256)
_2CH_STREAM = (96 * 25 * 2 + 96) + (96 * 9 * 96 + 96) + (192 * 9 * 96 + 192) + (192 * 9 * 192 + 192)
_MATCHNET_CONV = (24 * 49 + 24) + (64 * 25 * 24 + 64) + (96 * 9 * 64 + 96) + (96 * 9 * 96 + 96) + (64 * 9 * 96 + 64)
PARAMETERS = {  # of the features, of the score
    "matchnet": (
        _MATCHNET_CONV + 4096 * 512 + 512,
        (1024 * 512 + 512) + (512 * 512 + 512) + (512 * 2 + 2),
    ),
    "deepcompare-siam": (_TRUNK, (512 * 512 + 512) + 513),
    "deepcompare-pseudo-siam": (2 * _TRUNK, (512 * 512 + 512) + 513),
    "deepcompare-siam-2stream": (2 * _SIAM_STREAM, (1024 * 1024 + 1024) + 1025),
    "deepcompare-2ch": (0, _TRUNK_2CH + (256 * 256 + 256) + 257),
    "deepcompare-2ch2stream": (0, 2 * _2CH_STREAM + (2 * 768 * 768 + 768) + 769),
    "gloss-snet": (0, _TRUNK_2CH + (256 * 256 + 256) + 257 + (96 + 192 + 256 + 256)),
    "gloss-cs-snet": (
        0,
        2 * (_2CH_STREAM + 96 + 96 + 192 + 192) + (768 * 4 * 384 + 2 * 768) + 769,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Where this module's graphs and weights stand."""
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("scorers")
        patch.setenv("RECON_CACHE", str(made))
        yield made


@pytest.fixture(scope="module", params=sorted(SCORERS))
def scorer(request: pytest.FixtureRequest, folder: Path) -> NetworkScorer:
    spec = descriptors.scorer_spec(request.param)
    return NetworkScorer(spec, write_random(spec.name, folder / str(spec.weights)))


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (70, 1, 16, 16), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_sizes_are_the_papers_and_the_registrys(name: str) -> None:
    network, spec = build(name), descriptors.scorer_spec(name)
    parts = tuple(sum(p.numel() for p in part.parameters()) for part in (network.features, network.score))
    assert parts == PARAMETERS[name]
    assert sum(p.numel() for p in network.parameters()) == sum(parts) == spec.parameters
    assert (network.patch_size, network.width) == (spec.patch_size, spec.width)
    if spec.embeds:
        own = descriptors.spec(spec.shortlist)
        assert (own.parameters, own.dim, own.weights) == (parts[0], spec.width, spec.weights)


def test_sizes_that_were_published_in_megabytes() -> None:
    mib = {name: [round(4 * count / 2**20, 2) for count in counts] for name, counts in PARAMETERS.items()}
    assert mib["deepcompare-siam"] == [3.47, 1.00]
    assert mib["deepcompare-siam-2stream"] == [9.16, 4.01]


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_gradient_reaches_every_layer(name: str) -> None:
    torch.manual_seed(0)
    network = build(name).train()
    (network(torch.rand(8, 1, 64, 64) * 255) * torch.randn(4)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_keeps_the_contract(scorer: NetworkScorer, patches: np.ndarray) -> None:
    assert isinstance(scorer, PairScorer)
    features = scorer.features(patches)
    assert features.shape == (70, scorer.spec.width) and features.dtype == scorer.spec.dtype
    scores = scorer.score(features, np.roll(features, 1, axis=0))
    assert scores.shape == (70,) and scores.dtype == np.float32
    assert np.isfinite(scores).all() and np.ptp(scores) > 1e-4


def test_no_patch_and_no_pair(scorer: NetworkScorer) -> None:
    none = scorer.features(np.empty((0, 1, 64, 64), np.uint8))
    assert none.shape == (0, scorer.spec.width) and none.dtype == scorer.spec.dtype
    assert scorer.score(none, none).shape == (0,)


def test_neighbours_do_not_matter(scorer: NetworkScorer, patches: np.ndarray) -> None:
    features = scorer.features(patches)
    order = np.random.default_rng(1).permutation(70)
    np.testing.assert_array_equal(scorer.features(patches[order]), features[order])
    np.testing.assert_array_equal(scorer.features(patches[66:67]), features[66:67])
    rows = np.arange(300) % 70
    first, second = features[rows], features[rows[::-1]]
    scores = scorer.score(first, second)
    np.testing.assert_array_equal(scorer.score(first[290:], second[290:]), scores[290:])
    np.testing.assert_array_equal(scorer.score(first[::-1], second[::-1]), scores[::-1])


def test_bytes_and_floats_give_the_same(scorer: NetworkScorer, patches: np.ndarray) -> None:
    np.testing.assert_array_equal(scorer.features(patches[:5].astype(np.float32)), scorer.features(patches[:5]))


def test_graphs_give_what_the_network_gives(scorer: NetworkScorer, patches: np.ndarray) -> None:
    network = runtime.read_network(scorer._weights)
    given = torch.from_numpy(patches).float()
    with torch.no_grad():
        features = network.features(given)
        scores = network.score(features, features.roll(1, dims=0)).numpy()
    own = scorer.features(patches)
    scale = float(features.abs().max())
    np.testing.assert_allclose(own, features.numpy(), atol=1e-5 * scale)
    np.testing.assert_allclose(scorer.score(own, np.roll(own, 1, axis=0)), scores, atol=1e-4)


def test_one_forward_pass_scores_the_rows_that_are_pairs(scorer: NetworkScorer, patches: np.ndarray) -> None:
    network = runtime.read_network(scorer._weights)
    with torch.no_grad():
        at_once = network(torch.from_numpy(patches).float()).numpy()
    features = scorer.features(patches)
    np.testing.assert_allclose(scorer.score(features[:35], features[35:]), at_once, atol=1e-4)


def test_the_order_of_the_two_matters_as_documented(scorer: NetworkScorer, patches: np.ndarray) -> None:
    features = scorer.features(patches)
    there = scorer.score(features[:35], features[35:])
    assert np.abs(there - scorer.score(features[35:], features[:35])).max() > 1e-5


def test_features_in_half_precision_score_alike(scorer: NetworkScorer, patches: np.ndarray) -> None:
    features = scorer.features(patches)
    stored = features.astype(np.float16).astype(features.dtype)
    scores = scorer.score(features[:35], features[35:])
    change = scorer.score(stored[:35], stored[35:]) - scores
    assert np.abs(change).max() < 0.01 * np.ptp(scores)


def test_wrong_input_is_told(scorer: NetworkScorer) -> None:
    width, dtype = scorer.spec.width, scorer.spec.dtype
    with pytest.raises(DescriptorError, match=r"\(4, 1, 32, 32\)"):
        scorer.features(np.zeros((4, 1, 32, 32), np.uint8))
    with pytest.raises(DescriptorError, match=rf"\(3, {width}\) and \(4, {width}\)"):
        scorer.score(np.zeros((3, width), dtype), np.zeros((4, width), dtype))
    with pytest.raises(DescriptorError, match="float64"):
        scorer.score(np.zeros((3, width)), np.zeros((3, width)))


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    spec = descriptors.scorer_spec("matchnet")
    with pytest.raises(DescriptorError, match="recon train matchnet"):
        NetworkScorer(spec, tmp_path / "none.safetensors")
    with pytest.raises(DescriptorError, match="names no weights"):
        descriptors.scorers.load(replace(spec, weights=None))


def test_names_lead_to_scorers_and_their_shortlists() -> None:
    assert set(descriptors.scorer_names()) == set(SCORERS)
    assert not set(descriptors.scorer_names()) & set(descriptors.names())
    assert descriptors.shortlist("gloss-snet") == "rootsift"
    assert descriptors.shortlist("matchnet") == "matchnet-l2"
    assert descriptors.shortlist("sift") == "sift"
    assert descriptors.scorer_for("sift") is None
    for name in descriptors.scorer_names():
        assert descriptors.spec(descriptors.shortlist(name)).dim > 0
        with pytest.raises(DescriptorError, match="load_scorer"):
            descriptors.load(name)
    with pytest.raises(DescriptorError, match="Did you mean 'deepcompare-siam'"):
        descriptors.load_scorer("deepcompare-sian")
    with pytest.raises(DescriptorError, match="Did you mean 'matchnet'"):
        descriptors.load("matchnett")


@pytest.mark.parametrize("name", ["matchnet", "deepcompare-siam-2stream"])
def test_features_at_unit_length_are_a_descriptor(name: str, folder: Path, patches: np.ndarray) -> None:
    spec = descriptors.scorer_spec(name)
    scorer = NetworkScorer(spec, write_random(name, folder / str(spec.weights)))
    descriptor = FeatureDescriptor(descriptors.spec(spec.shortlist), scorer)
    assert isinstance(descriptor, Descriptor)
    described = descriptor.describe(patches)
    features = scorer.features(patches)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(described * np.linalg.norm(features, axis=1, keepdims=True), features, atol=1e-4)
    assert descriptor.describe(patches[:0]).shape == (0, 512)


def test_matchnets_maps_are_64_32_16_and_8_px() -> None:
    sizes = []
    network = build("matchnet")
    for module in network.features:
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(lambda _module, _given, out: sizes.append(out.shape[-1]))
    network.features(torch.zeros(1, 1, 64, 64))
    assert sizes == [32, 16, 8]


def test_matchnets_score_is_the_log_odds_of_its_softmax() -> None:
    network = build("matchnet").eval()
    features = torch.randn(6, 512)
    votes = network.score.layers(torch.cat([features[:3], features[3:]], dim=1))
    share = votes.softmax(dim=1)[:, 1]
    torch.testing.assert_close(torch.sigmoid(network.score(features[:3], features[3:])), share)


def test_centre_and_surround_see_what_they_should() -> None:
    streams = build("deepcompare-2ch2stream").score.layers[1]
    streams.centre, streams.surround = nn.Identity(), nn.Identity()
    picture = torch.arange(64.0 * 64).reshape(1, 1, 64, 64)
    out = streams(picture)
    torch.testing.assert_close(out[0, 0], picture[0, 0, 16:48, 16:48])
    assert out[0, 1, 0, 0] == (0 + 1 + 64 + 65) / 4


@pytest.mark.parametrize(
    "name", ["matchnet", "deepcompare-siam", "deepcompare-pseudo-siam", "deepcompare-siam-2stream"]
)
def test_metric_networks_on_features_begin_with_their_difference(name: str) -> None:
    torch.manual_seed(0)
    network = build(name).eval()
    features = network.features(torch.rand(6, 1, 64, 64) * 255)
    alike = network.score(features, features)
    other = network.score(features, features.roll(1, dims=0))
    torch.testing.assert_close(alike, alike[:1].expand(6), atol=1e-5, rtol=0)  # of no difference, whatever the patch
    assert (other - alike).abs().min() > 1e-3
