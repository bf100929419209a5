"""Muon against PyTorch's own, on what both can move, and in a training that is interrupted."""

import copy

import pytest
import torch
from torch import nn
from vcm.training.trainer.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(40, 96), (96, 40), (64, 64)])
def test_a_plain_matrix_moves_as_pytorch_moves_it(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    ours, theirs = nn.Parameter(weight.clone()), nn.Parameter(weight.clone())
    muon = Muon([ours], lr=1e-3, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=1e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        reference.step()
    moved = (theirs - weight).detach().std()
    assert moved > 5e-4
    assert (ours - theirs).detach().std() < 0.05 * moved  # both iterate in bfloat16


def test_a_kernel_moves_as_the_matrix_of_its_output_channels():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(5, 3, 2, 3, 4))
    matrix = nn.Parameter(kernel.detach().reshape(5, -1).clone())
    kernel.grad = torch.randn(5, 3, 2, 3, 4)
    matrix.grad = kernel.grad.reshape(5, -1).clone()
    Muon([kernel], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    assert torch.equal(kernel.reshape(5, -1), matrix)


def test_no_direction_is_left_behind():
    torch.manual_seed(0)
    weak = torch.randn(30, 50)
    weak[10:] *= 0.05
    strengths = torch.linalg.svdvals(orthogonal(weak))
    assert strengths.min() > 0.5
    assert strengths.max() < 1.3


def test_biases_and_norms_move_as_adamw_moves_them():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4))
    theirs = copy.deepcopy(ours)
    flat = [weight for weight in theirs.parameters() if weight.ndim < 2]
    muon, adamw = Muon(ours.parameters(), lr=1e-2), torch.optim.AdamW(flat, lr=1e-2)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    muon.step()
    adamw.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other) is (mine.ndim < 2)


def test_it_goes_on_from_its_state_as_if_it_had_never_stopped():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Conv1d(8, 4, 1))

    def steps(net, optimiser, count, seed):
        torch.manual_seed(seed)
        for _ in range(count):
            for weight in net.parameters():
                weight.grad = torch.randn_like(weight)
            optimiser.step()

    whole, halved = network(), network()
    optimiser, before = Muon(whole.parameters(), lr=1e-2), Muon(halved.parameters(), lr=1e-2)
    for net, muon in ((whole, optimiser), (halved, before)):
        steps(net, muon, 3, seed=1)
    after = Muon(halved.parameters(), lr=1e-2)
    after.load_state_dict(before.state_dict())
    steps(whole, optimiser, 3, seed=2)
    steps(halved, after, 3, seed=2)
    for one, other in zip(whole.parameters(), halved.parameters(), strict=True):
        assert torch.equal(one, other)
