"""Objectives: that each joins its losses as its paper does, and that one step of each goes down on a real network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from scorer_weights import write_random
from torch import Tensor, nn

from descriptors.contract import DescriptorError
from descriptors.networks import build
from descriptors.networks.normalize import unit_length
from descriptors.training import losses, objectives
from descriptors.training.distill import Distilled, load_teacher
from descriptors.training.objectives import DeepDescLoss, HyNetLoss, KumarLoss, Moment, SOSNetLoss, TripletRatio


def moment(done: float = 1.0) -> Moment:
    return Moment(done, torch.Generator().manual_seed(0), nullcontext)


class Vectors(nn.Module):
    """A network whose vectors are its parameters, whatever the patches; patch i has its number as grey value."""

    patch_size = 4

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)
        self.calls = 0

    def raw(self, patches: Tensor) -> Tensor:
        self.calls += 1
        return self.vectors[patches[:, 0, 0, 0].long()]

    def forward(self, patches: Tensor) -> Tensor:
        return unit_length(self.raw(patches))


@pytest.fixture
def network() -> Vectors:
    torch.manual_seed(1)
    return Vectors(torch.randn(16, 8))


@pytest.fixture
def patches() -> Tensor:
    return torch.arange(16.0)[:, None, None, None].expand(-1, 1, 4, 4)


def distances(network: Vectors) -> Tensor:
    unit = unit_length(network.vectors)
    return torch.cdist(unit, unit)


def test_sosnet_by_loops(network: Vectors, patches: Tensor) -> None:
    d = distances(network).detach()
    total = 0.0
    for i in range(8):
        others = [j for j in range(16) if j % 8 != i]
        hardest = min(d[i, others].min(), d[8 + i, others].min())
        total += float((1 + d[i, 8 + i] - hardest).clamp_min(0) ** 2)
        sides = ([j for j in range(8) if j != i], [j for j in range(8, 16) if j != 8 + i])
        near = {j for j in sorted(sides[0], key=lambda j: float(d[i, j]))[:3]}
        near |= {j - 8 for j in sorted(sides[1], key=lambda j: float(d[8 + i, j]))[:3]}
        total += float(sum((d[i, j] - d[8 + i, 8 + j]) ** 2 for j in near) ** 0.5)
    assert SOSNetLoss(neighbours=3, orthogonal=0)(network, patches, moment()).item() == pytest.approx(
        total / 8, abs=1e-3
    )


def test_hynet_by_loops(network: Vectors, patches: Tensor) -> None:
    d, lengths = distances(network).detach(), network.vectors.detach().norm(dim=1)
    total = 0.0
    for i in range(8):
        others = [j for j in range(16) if j % 8 != i]
        far = min(d[i, others].min(), d[8 + i, others].min())
        near = d[i, 8 + i]
        total += float((1.2 + near + near**2 - far - far**2).clamp_min(0) + 0.1 * (lengths[i] - lengths[8 + i]) ** 2)
    assert HyNetLoss(orthogonal=0)(network, patches, moment()).item() == pytest.approx(total / 8, abs=1e-3)


@pytest.mark.parametrize("objective", [objectives.HardestInBatch(), SOSNetLoss(neighbours=3), HyNetLoss()])
def test_the_hardest_of_the_batch_is_come_to_from_l2nets_e1(
    objective: objectives.HardestInBatch | SOSNetLoss | HyNetLoss, network: Vectors, patches: Tensor
) -> None:
    between = distances(network)[:8, 8:]
    e1 = -((-10 * between).log_softmax(0).diagonal().mean() + (-10 * between).log_softmax(1).diagonal().mean()) / 2
    whole = objective(network, patches, moment()).item()
    assert objective(network, patches, moment(0.0)).item() == pytest.approx(e1.item(), abs=1e-3)
    assert objective(network, patches, moment(0.05)).item() == pytest.approx((whole + e1.item()) / 2, abs=1e-3)
    assert objective(network, patches, moment(0.1)).item() == whole


@pytest.mark.parametrize(
    "kind", [objectives.HardestInBatch, SOSNetLoss, HyNetLoss, objectives.TripletLoss, TripletRatio]
)
def test_one_point_for_all_patches_is_dearer_than_the_papers_loss_alone_makes_it(
    kind: Callable[..., objectives.Objective], network: Vectors, patches: Tensor
) -> None:
    network.vectors.data[:] = 1.0
    papers, ours = (kind(orthogonal=weight)(network, patches, moment()).item() for weight in (0.0, 1.0))
    assert ours - papers == pytest.approx(2 - 1 / network.vectors.shape[1], abs=1e-3)


def test_kumars_losses_are_the_triplets_and_both(network: Vectors, patches: Tensor) -> None:
    d = distances(network)[:8, 8:]
    other = losses.hard_negatives(d, 1, moment().generator)
    near, far = d.diagonal(), losses.swapped_negatives(d, other)
    alone = (1 - far**2 / (near**2 + 0.01)).clamp_min(0).mean()
    assert KumarLoss()(network, patches, moment()).item() == pytest.approx(float(alone), abs=1e-3)
    heaps = (near**2 / 4).var(correction=0) + (far**2 / 4).var(correction=0)
    heaps = heaps + 0.8 * (near.square().mean() / 4 - far.square().mean() / 4 + 0.4).clamp_min(0)
    both = KumarLoss(spread=1.0)(network, patches, moment())
    assert both.item() == pytest.approx(float(alone + heaps), abs=1e-3)


def test_deepdesc_sends_back_the_hardest_alone(network: Vectors, patches: Tensor) -> None:
    d = distances(network)
    DeepDescLoss(mining=8)(network, patches, moment()).backward()
    moved = set(torch.nonzero(network.vectors.grad.abs().sum(dim=1))[:, 0].tolist())
    near = d.diagonal(8)[:8]
    hardest = int(near.argmax())
    assert {hardest, 8 + hardest} <= moved and len(moved) <= 4
    network.vectors.grad = None
    DeepDescLoss(mining=8)(network, patches, moment(done=0.0)).backward()
    assert len(torch.nonzero(network.vectors.grad.abs().sum(dim=1))) == 16


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("tfeat", TripletRatio()),
        ("sosnet", SOSNetLoss()),
        ("hynet", HyNetLoss()),
        ("deepdesc", DeepDescLoss()),
        ("tnet", KumarLoss(spread=1.0)),
        ("cs-l2net", objectives.HardestInBatch()),
    ],
)
def test_steps_on_the_real_network_go_down(name: str, loss: objectives.Objective) -> None:
    torch.manual_seed(0)
    network = build(name).train()
    side = torch.rand(8, 1, network.patch_size, network.patch_size) * 255
    patches = torch.cat([side, (side + 30 * torch.randn_like(side)).clamp(0, 255)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    seen = []
    for _ in range(6):
        optimizer.zero_grad()
        value = loss(network, patches, moment(0.0))
        value.backward()
        optimizer.step()
        seen.append(value.item())
    assert min(seen[3:]) < seen[0]


def test_distilled_adds_the_teachers_pull_in_one_pass(network: Vectors, tmp_path: Path) -> None:
    path = write_random("tfeat", tmp_path / "teacher.safetensors")
    torch.manual_seed(0)
    patches = (torch.arange(16.0)[:, None, None, None] + torch.zeros(16, 1, 32, 32)).contiguous()
    noise = torch.rand(16, 1, 32, 32)
    noise[:, :, 0, 0] = 0
    patches = patches + 0.9 * noise
    student = Vectors(torch.randn(16, 128))
    loss = Distilled(objectives.HardestInBatch(), str(path), weight=2.0)(student, patches, moment())
    assert student.calls == 1
    teacher = load_teacher(path, "cpu")
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    pull = losses.imitation(unit_length(student.vectors), teacher(patches))
    alone = objectives.HardestInBatch()(student, patches, moment())
    assert loss.item() == pytest.approx(float(alone + 2 * pull), abs=1e-5)
    loss.backward()
    assert student.vectors.grad.abs().sum() > 0


def test_a_teacher_that_is_not_there_or_of_another_size_is_told(network: Vectors, patches: Tensor, tmp_path: Path):
    with pytest.raises(DescriptorError, match="no weights at"):
        Distilled(objectives.HardestInBatch(), "nobody")(network, patches, moment())
    path = write_random("tfeat", tmp_path / "teacher.safetensors")
    with pytest.raises(DescriptorError, match="32 px, the network of 4 px"):
        Distilled(objectives.HardestInBatch(), str(path))(network, patches, moment())
