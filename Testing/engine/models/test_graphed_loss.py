"""A loss whose gradient comes with it: what the optimiser gets, with a stand-in for the CUDA graph."""

import pytest
import torch
from torch import nn
from vcm.training.trainer.graphed_loss import GraphedLoss


class Squares(nn.Module):
    """A loss with two weights, one of which is frozen."""

    def __init__(self):
        super().__init__()
        self.slope, self.frozen = nn.Parameter(torch.tensor([2.0, -1.0])), nn.Parameter(torch.tensor(3.0))
        self.frozen.requires_grad_(False)
        self.calls = 0

    def forward(self, table):
        self.calls += 1
        error = self.slope * table["x"] + self.frozen - table["y"]
        return error.square().mean(), error.detach().abs().max()


class Replay:
    """Reckons anew with its own tensors into the same places, as a CUDA graph does."""

    def __init__(self, module, tensors):
        self.module, self.tensors = module, {name: tensor.clone() for name, tensor in tensors.items()}
        self.loss, self.figure, self.gradients = torch.zeros(()), torch.zeros(()), [torch.zeros(2)]

    def replay(self, tensors):
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        with torch.enable_grad():
            loss, figure = self.module(self.tensors)
            (gradient,) = torch.autograd.grad(loss, [self.module.slope])
        self.loss.copy_(loss.detach())
        self.figure.copy_(figure)
        self.gradients[0].copy_(gradient)


@pytest.fixture
def replayed(monkeypatch):
    module = Squares()
    graphed = GraphedLoss(module)
    monkeypatch.setattr(graphed, "_try_to_capture", lambda tensors: Replay(module, tensors))
    return graphed


def table(x, y, size=2):
    return {"x": torch.full((size,), x), "y": torch.full((size,), y)}


def gradient_of(module, *tables, scale=1.0):
    module.zero_grad()
    for one in tables:
        (module(one)[0] * scale).backward()
    return module.slope.grad.clone()


def test_a_replayed_loss_has_the_gradient_of_the_tensors_of_its_own_call(replayed):
    replayed(table(1.0, 1.0))
    for x, y in ((0.5, 2.0), (-3.0, 1.0), (2.0, 7.0)):
        loss, figure = replayed(table(x, y))
        replayed.module.zero_grad()
        (loss * 0.25).backward()
        assert torch.allclose(replayed.module.slope.grad, gradient_of(Squares(), table(x, y), scale=0.25))
        assert loss.item() == pytest.approx(Squares()(table(x, y))[0].item())
        assert not figure.requires_grad
        assert replayed.module.frozen.grad is None


def test_the_gradients_of_a_batch_s_pieces_add_up(replayed):
    replayed(table(1.0, 1.0))
    replayed.module.zero_grad()
    for piece in (table(0.5, 2.0), table(-3.0, 1.0)):
        replayed(piece)[0].backward()
    assert torch.allclose(replayed.module.slope.grad, gradient_of(Squares(), table(0.5, 2.0), table(-3.0, 1.0)))


def test_a_gradient_that_was_kept_is_not_overwritten_by_the_next_call(replayed):
    replayed(table(1.0, 1.0))
    replayed(table(0.5, 2.0))[0].backward()
    kept, value = replayed.module.slope.grad, replayed.module.slope.grad.clone()
    replayed(table(-3.0, 1.0))
    assert torch.equal(kept, value)


def test_each_shape_is_launched_once_before_it_is_captured(replayed):
    small, large = table(1.0, 1.0), table(1.0, 1.0, size=1)
    with pytest.MonkeyPatch.context() as patch:
        captured = []
        patch.setattr(
            replayed,
            "_try_to_capture",
            lambda tensors: captured.append(len(tensors["x"])) or Replay(Squares(), tensors),
        )
        for one in (small, large, small, small, large):
            replayed(one)
    assert captured == [2, 1]


def test_on_the_processor_every_call_is_launched():
    graphed = GraphedLoss(Squares())
    for _ in range(3):
        graphed(table(0.5, 2.0))[0].backward()
    assert graphed.module.calls == 3
    assert torch.allclose(graphed.module.slope.grad, 3 * gradient_of(Squares(), table(0.5, 2.0)))
