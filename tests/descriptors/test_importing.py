"""Published checkpoints: the imported network says what kornia's, or the authors' code, says of the same patches."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import descriptors
from descriptors import DescriptorError
from descriptors.importing import IMPORTED, import_checkpoint
from descriptors.networks import build
from descriptors.runtime import read_network

KORNIA = {"tfeat": "TFeat", "hardnet": "HardNet", "sosnet": "SOSNet", "hynet": "HyNet"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_CACHE", str(tmp_path / "cache"))


def randomized(network: nn.Module) -> nn.Module:
    """Every number of a network drawn anew, running means and variances, scales and thresholds included."""
    draw = torch.Generator().manual_seed(5)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=draw))
        elif value.is_floating_point() and not name.endswith("eps"):
            spread = 1 / np.sqrt(max(value[0].numel(), 1)) if value.dim() > 1 and value.shape[-1] > 1 else 0.1
            value.add_(spread * torch.randn(value.shape, generator=draw))
    return network.eval()


def theirs(name: str) -> nn.Module:
    feature = pytest.importorskip("kornia.feature", reason="kornia is not installed (pip install 'recon[dev]')")
    return randomized(getattr(feature, KORNIA[name])(pretrained=False))


def photo_patches(textured: np.ndarray) -> Tensor:
    corners = np.random.default_rng(3).integers(0, len(textured) - 32, (40, 2))
    cut = np.stack([textured[None, y : y + 32, x : x + 32] for y, x in corners]).astype(np.float32)
    cut[1] = 100 + 0.15 * cut[1]  # little contrast
    return torch.from_numpy(cut)


@pytest.mark.parametrize("name", IMPORTED)
def test_says_what_kornia_says_with_the_same_weights(name, textured, tmp_path):
    other = theirs(name)
    torch.save({"epoch": 9, "state_dict": other.state_dict()}, tmp_path / "published.pth")
    out = tmp_path / f"my-{name}.safetensors"
    import_checkpoint(tmp_path / "published.pth", name, out)
    patches = photo_patches(textured)
    with torch.inference_mode():
        want = nn.functional.normalize(other(patches / 255).reshape(len(patches), -1))
        got = read_network(out)(patches)
    assert want.std(dim=0).mean() > 1e-3  # the patches are told apart
    assert (got - want).abs().max() < 1e-5
    described = descriptors.load(str(out)).describe(patches.numpy())
    np.testing.assert_allclose(described, want, atol=1e-4)


def test_a_state_dict_alone_and_one_from_several_gpus(tmp_path):
    state = randomized(build("tfeat")).state_dict()
    published = {
        {"features.0": "features.1", "features.3": "features.4", "head.0": "descr.0"}[k.rsplit(".", 1)[0]]
        + "." + k.rsplit(".", 1)[1]: v
        for k, v in state.items()
    }  # fmt: skip
    for number, content in enumerate((published, {f"module.{k}": v for k, v in published.items()})):
        torch.save(content, tmp_path / "a.pth")
        out = tmp_path / f"{number}.safetensors"
        import_checkpoint(tmp_path / "a.pth", "tfeat", out)
        for name, value in read_network(out).state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_the_imported_file_is_a_descriptor_by_its_path(tmp_path, textured):
    torch.save(published_tfeat(), tmp_path / "a.pth")
    out = tmp_path / "mine.safetensors"
    import_checkpoint(tmp_path / "a.pth", "tfeat", out)
    spec = descriptors.spec(str(out))
    assert (spec.name, spec.dim, spec.patch_size, spec.parameters) == ("mine", 128, 32, 599_808)
    d = descriptors.load(str(out))
    patches = textured[None, None, :32, :32]
    assert d.describe(patches).shape == (1, 128)
    assert d.fingerprint != descriptors.load("tfeat").fingerprint


def published_tfeat() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"features.1": (32, 1, 7, 7), "features.4": (64, 32, 6, 6), "descr.0": (128, 4096)}
    weights = {f"{k}.weight": 0.1 * torch.randn(shape, generator=draw) for k, shape in shapes.items()}
    return weights | {f"{k}.bias": torch.zeros(shape[0]) for k, shape in shapes.items()}


def refused(tmp_path: Path, content: object, network: str = "tfeat") -> str:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(DescriptorError) as error:
        import_checkpoint(tmp_path / "a.pth", network, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_foreign_file_is_told_in_a_sentence(tmp_path):
    good = published_tfeat()
    assert "try --network tfeat" in refused(tmp_path, good, "hardnet")
    assert "it lacks descr.0." in refused(tmp_path, {k: v for k, v in good.items() if "descr" not in k})
    assert "it has conv9 besides" in refused(tmp_path, good | {"conv9.weight": torch.zeros(3)})
    assert "features.4.weight has the shape (64, 3, 6, 6), not (64, 32, 6, 6)" in refused(
        tmp_path, good | {"features.4.weight": torch.zeros(64, 3, 6, 6)}
    )
    assert "lacks features.1.bias" in refused(tmp_path, {k: v for k, v in good.items() if k != "features.1.bias"})
    assert "holds no tensors" in refused(tmp_path, [1, 2])
    assert "could run code" in refused(tmp_path, {"state_dict": good, "args": argparse.Namespace(lr=1)})
    assert "No checkpoints of 'swift'" in refused(tmp_path, good, "swift")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x80\x02garbage", bytes(500), b"PK\x03\x04" + bytes(60)])
def test_a_damaged_file_is_told_in_a_sentence(tmp_path, content):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DescriptorError, match=name):
            import_checkpoint(tmp_path / name, "tfeat", tmp_path / "out.safetensors")
    with pytest.raises(DescriptorError, match=r"a\.safetensors"):
        descriptors.load(str(tmp_path / "a.safetensors"))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DescriptorError, match="No such file"):
        import_checkpoint(tmp_path / "absent.pth", "tfeat", tmp_path / "out.safetensors")
    with pytest.raises(DescriptorError, match="No such file"):
        descriptors.spec(str(tmp_path / "absent.safetensors"))
    with pytest.raises(DescriptorError, match=r"must end in \.safetensors"):
        import_checkpoint(tmp_path / "absent.pth", "tfeat", tmp_path / "out.pth")


def authors_tfeat(state: dict[str, Tensor], patches: Tensor, layers: tuple[str, str, str], unbiased: bool) -> Tensor:
    """TFeat as its authors write it (instance norm), or as AffNet's do (standard deviation with N - 1)."""
    grey = patches / 255
    if unbiased:
        flat = grey.flatten(1)
        grey = (grey - flat.mean(1)[:, None, None, None]) / (flat.std(1) + 1e-7)[:, None, None, None]
    else:
        grey = nn.functional.instance_norm(grey)
    one, two, three = ((state[f"{name}.weight"], state[f"{name}.bias"]) for name in layers)
    maps = nn.functional.max_pool2d(torch.tanh(nn.functional.conv2d(grey, *one)), 2)
    maps = torch.tanh(nn.functional.conv2d(maps, *two)).flatten(1)
    vectors = torch.tanh(nn.functional.linear(maps, three[0].reshape(128, -1), three[1]))
    return nn.functional.normalize(vectors)


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "layers", "unbiased"),
    [
        ("tfeat/tfeat-liberty.params", ("features.1", "features.4", "descr.0"), False),
        ("HardTFeat.pth", ("features.0", "features.3", "classifier.1"), True),
    ],
)
def test_the_authors_own_files(shared_data, tmp_path, textured, file, layers, unbiased):
    source, out = shared_data / "weights" / file, tmp_path / "authors.safetensors"
    import_checkpoint(source, "tfeat", out)
    state = torch.load(source, map_location="cpu", weights_only=True)
    patches = photo_patches(textured)[2:]
    want = authors_tfeat(state.get("state_dict", state), patches, layers, unbiased)
    # Our floor of the variance is instance norm's; the other authors have none, which tells by 1e-3 at low contrast.
    np.testing.assert_allclose(
        descriptors.load(str(out)).describe(patches.numpy()), want, atol=2e-3 if unbiased else 1e-4
    )
