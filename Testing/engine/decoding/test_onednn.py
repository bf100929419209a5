"""Small convolutions through oneDNN: when it is asked, when not, and against double precision."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from vcm.conditions.attributes import resolve
from vcm.machine.runtime import choose_runtime
from vcm.models.onednn import use_onednn
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")


class Calls(TorchDispatchMode):
    """The kernels that are called."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def asked(conv: nn.Module, x: torch.Tensor, grad: bool = False) -> bool:
    """Whether it was we who asked oneDNN: PyTorch itself calls `convolution` and decides behind it."""
    with torch.set_grad_enabled(grad), Calls() as calls:
        conv(x)
    return "mkldnn_convolution" in calls.names


def fast(*arguments, **options) -> nn.Conv3d:
    torch.manual_seed(0)
    conv = nn.Conv3d(*arguments, **options)
    use_onednn(conv)
    return conv


@needs_onednn
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1}, {}, {"padding": (0, 1, 2)}, {"stride": 2, "padding": 1}, {"dilation": (1, 2, 1), "padding": 2},
        {"padding": 1, "bias": False},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kernel", [3, (1, 3, 3), (3, 1, 2)])
@torch.no_grad()
def test_a_small_convolution_asks_onednn_and_gives_the_same(options, kernel):
    conv, x = fast(5, 7, kernel, **options), torch.randn(1, 5, 6, 7, 8)
    assert asked(conv, x)
    expected = copy.deepcopy(conv).double()(x.double())
    assert conv(x).shape == expected.shape and float((conv(x) - expected).abs().max()) < 2e-6
    assert torch.equal(conv(x), conv(x)) and conv(x).is_contiguous()


@needs_onednn
@torch.no_grad()
def test_views_with_odd_strides_are_taken_as_they_are():
    conv, x = fast(4, 3, 3, padding=1), torch.randn(1, 9, 8, 7, 6).permute(0, 2, 4, 1, 3)[:, ::2]
    assert asked(conv, x) and torch.allclose(conv(x), conv(x.contiguous()), atol=1e-6)


@needs_onednn
@pytest.mark.parametrize(
    ("shape", "there"),
    [((1, 4, 64, 80, 2), True), ((1, 4, 64, 81, 2), False), ((2, 4, 6, 7, 8), False), ((1, 4, 64, 80, 99), True)],
)
def test_only_what_pytorch_holds_for_small_is_asked_for_in_its_place(shape, there):
    assert asked(fast(4, 2, 3, padding=1), torch.zeros(shape)) == there


@pytest.mark.parametrize(
    "conv",
    [
        fast(4, 4, 3, padding=1, groups=2), fast(4, 4, 1), fast(4, 4, 3, padding="same"),
        fast(4, 4, 3, padding=1, padding_mode="replicate"), fast(4, 4, 3, padding=1).double(),
    ],
    ids=["groups", "1×1×1", "named padding", "replicated border", "double"],
)  # fmt: skip
def test_everything_else_is_left_to_pytorch(conv):
    plain = copy.deepcopy(conv)
    plain.__class__ = nn.Conv3d
    x = torch.randn(1, 4, 5, 6, 7, dtype=conv.weight.dtype)
    assert not asked(conv, x) and torch.equal(conv(x), plain(x))


def test_what_is_learnt_what_is_bf16_and_what_is_switched_off_is_left_to_pytorch():
    conv, x = fast(4, 4, 3, padding=1), torch.randn(1, 4, 5, 6, 7)
    assert not asked(conv, x, grad=True)
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert not asked(conv, x) and conv(x).dtype is torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not asked(conv, x)
    assert not asked(conv.bfloat16(), x.bfloat16())
    assert conv.to("meta")(torch.empty(1, 4, 5, 6, 7, device="meta", dtype=torch.bfloat16)).shape == (1, 4, 5, 6, 7)


@pytest.mark.parametrize(
    "shape", [(1, 3, 5, 6, 7), (1, 5, 5, 6, 7), (1, 4, 1, 6, 7), (1, 4, 5, 6, 0), (4, 5, 6, 7, 8, 9)]
)
@torch.no_grad()
def test_an_input_that_does_not_fit_is_refused_as_ever(shape):
    with pytest.raises(RuntimeError):
        fast(4, 4, 3)(torch.zeros(shape))


def test_a_copy_convolves_with_its_own_weights():
    conv, x = fast(4, 4, 3, padding=1), torch.randn(1, 4, 5, 6, 7)
    other = copy.deepcopy(conv)
    with torch.no_grad():
        other.weight.zero_()
        assert not torch.equal(conv(x), other(x)) and set(conv.state_dict()) == {"weight", "bias"}


@needs_onednn
def test_a_sample_is_made_through_onednn_and_stays_the_same():
    backbone, control = tiny.backbone(), tiny.control()
    latent, t = torch.randn(1, *tiny.LATENT), torch.tensor([500.0])
    attributes = torch.rand(1, 4)
    with torch.no_grad():
        before = backbone.predict(latent, t, attributes)
        generator = Generator(backbone, control, choose_runtime("cpu"))
        with Calls() as calls:
            after = generator.backbone.predict(latent, t, attributes)
            list(generator.generate(GenerateRequest(resolve(backbone.attributes, {}, {}, ()), steps=1)))
    assert "mkldnn_convolution" in calls.names
    assert 0 < float((after - before).abs().max()) < 1e-5
    assert all(conv.__class__ is not nn.Conv3d for conv in control.modules() if isinstance(conv, nn.Conv3d))
