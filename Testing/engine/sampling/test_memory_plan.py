"""The memory plan: what is chosen at full size, in which words, and what is said where nothing fits."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import full_size
import pytest
import tiny
import torch
from benchmark.tensor_memory import TensorMemory
from vcm.conditions.attributes import resolve
from vcm.core.errors import Code, VcmError
from vcm.machine.runtime import choose_runtime
from vcm.models.controls.control import Step
from vcm.sampling.generator import Generator
from vcm.sampling.memory_plan import MemoryPlan, needed_bytes, out_of_memory, plan_memory
from vcm.sampling.request import GenerateRequest

GB = 10**9


@functools.cache
def full(dtype: torch.dtype):
    return full_size.backbone(dtype), full_size.control(dtype)


def plan(free_gb: float, dtype: torch.dtype = torch.float16, batch: int = 1, wanted: str = "auto") -> MemoryPlan:
    backbone, control = full(dtype)
    return plan_memory(backbone, control, dtype, batch, int(free_gb * GB), wanted)


@pytest.mark.parametrize(("free_gb", "name"), [(24, "slabs"), (8, "slabs"), (6, "slabs"), (4, "offload")])
def test_the_full_size_model_in_fp16_has_a_plan_that_fits(free_gb, name):
    chosen = plan(free_gb)
    assert chosen.name == name and chosen.needed <= chosen.free == free_gb * GB


def test_a_full_size_sample_fits_under_six_gigabytes_in_two_ways():
    assert plan(24).needed < 6 * GB and plan(24, wanted="offload").needed < 4 * GB


def test_where_nothing_fits_the_remedy_is_another_device():
    with pytest.raises(VcmError, match=r"“offload” needs about .* GB and 2.0 GB are free.*--device cpu") as caught:
        plan(2)
    assert caught.value.code is Code.OUT_OF_MEMORY
    assert caught.value.details["needed"] > caught.value.details["free"] == 2 * GB


def test_fp32_needs_about_twice_as_much():
    assert 1.7 < plan(24, torch.float32).needed / plan(24).needed < 2.1


@pytest.mark.parametrize(
    ("wanted", "batch", "lighter"),
    [
        ("whole", 1, ["--memory slabs"]),
        ("slabs", 1, ["--memory offload"]),
        ("slabs", 4, ["--memory offload", "--batch 1"]),
        ("offload", 4, ["--batch 1"]),
    ],
)
def test_the_error_names_the_next_lighter_plan(wanted, batch, lighter):
    with pytest.raises(VcmError) as caught:
        plan(1, batch=batch, wanted=wanted)
    assert f"the plan “{wanted}”" in caught.value.sentence
    assert all(step in caught.value.remedy for step in lighter)
    assert caught.value.details["lighter"] == " ".join(lighter)


def test_each_plan_is_lighter_than_the_one_before():
    needs = [plan(99, wanted=name).needed for name in ("whole", "slabs", "offload")]
    assert needs == sorted(needs, reverse=True) and len(set(needs)) == 3


def test_images_are_decoded_one_by_one_so_that_a_batch_costs_only_steps():
    assert 0 < plan(99, batch=8).needed - plan(99).needed < 8 * 0.4 * GB


def test_the_plan_is_announced_with_what_it_needs():
    assert (
        plan(8).words == f"decode in slabs (the same image, less memory): needs about {_gb(plan(8))} GB of 8.0 GB free"
    )
    assert "denoiser moved out of the way" in plan(4).words
    assert "in one go" in plan(24, wanted="whole").words


def _gb(chosen: MemoryPlan) -> str:
    return f"{chosen.needed / GB:.1f}"


def test_an_unknown_plan_is_refused_with_the_known_ones():
    with pytest.raises(VcmError, match="auto, whole, slabs, offload; not 'tiny'"):
        plan(8, wanted="tiny")


def test_on_a_processor_nothing_is_moved_out_of_the_way():
    backbone, control = tiny.backbone(), tiny.control()
    chosen = plan_memory(backbone, control, torch.float32, 1, 10 * GB)
    assert chosen.name == "slabs" and chosen.lighter is None
    assert 0 < chosen.slab_bytes < plan(8).slab_bytes and plan(24, wanted="whole").slab_bytes is None
    with pytest.raises(VcmError, match="this device has none") as caught:
        plan_memory(backbone, control, torch.float32, 1, 10 * GB, "offload")
    assert caught.value.code is Code.BAD_REQUEST
    with pytest.raises(VcmError, match=r"lightest plan.*--precision bf16"):
        plan_memory(backbone, control, torch.float32, 1, 1000)


# The estimates against tensors that were followed one by one (a GPU's workspaces come on top).


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["whole", "slabs"])
def test_the_estimate_of_decoding_covers_the_tensors_at_full_size(dtype, name):
    backbone, _ = full(dtype)
    backbone.slab_bytes = None if name == "whole" else 64 * 2**20
    peak = _peak(backbone.decode, torch.empty(1, *backbone.latent_shape, device="meta"))
    loose = 1.3 if name == "slabs" else 2.1
    assert peak < backbone.decoding_bytes(dtype.itemsize, backbone.slab_bytes) < loose * peak


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["slabs", "offload"])
def test_the_estimate_of_a_whole_sample_covers_all_it_holds_within_a_third(dtype, name):
    backbone, control = full(dtype)
    backbone.slab_bytes = 64 * 2**20
    latent = torch.empty(1, *backbone.latent_shape, device="meta")
    condition = torch.empty(1, 8, *backbone.grid.shape, device="meta")
    encoding = _peak(lambda: control.prepare({"semantics": condition}, [frozenset(["semantics"])]))
    state = control.prepare({"semantics": condition}, [frozenset(["semantics"])])
    times, attributes = torch.empty(1, device="meta"), torch.empty(1, 4, device="meta")
    step = _peak(
        lambda: control.guide(
            Step(backbone.process, latent, times, lambda z, t, _: backbone.predict(z, t, attributes)),
            state,
            frozenset(["semantics"]),
        )
    )
    decoding = _peak(backbone.decode, latent)
    weights, decoder = _weights(backbone.denoiser) + _weights(control), _weights(backbone.autoencoder)
    steps = 2 * step  # with the twin's
    held = decoder + weights + max(steps + encoding, steps + decoding)
    if name == "offload":
        held = decoder + max(weights + max(steps, encoding), decoding)
    assert held < needed_bytes(backbone, control, dtype, 1, name) < 4 / 3 * held


def _peak(function, *arguments) -> int:
    with torch.no_grad(), TensorMemory() as memory:
        function(*arguments)
    return memory.peak


def _weights(module: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


# Running out all the same.


def request() -> GenerateRequest:
    return GenerateRequest(resolve(tiny.backbone().attributes, {"age": 70}, {}, ()), steps=1)


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:125] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_while_decoding_ends_in_a_sentence(failure, monkeypatch):
    generator = Generator(tiny.backbone(), None, choose_runtime("cpu"), memory="whole")

    def full(*_):
        raise failure

    monkeypatch.setattr(generator.backbone, "decode", full)
    with pytest.raises(VcmError, match=r"“whole” needs about .*Try --memory slabs") as caught:
        list(generator.generate(request()))
    assert caught.value.code is Code.OUT_OF_MEMORY
    assert caught.value.__cause__ is failure


def test_another_failure_is_not_taken_for_a_lack_of_memory(monkeypatch):
    generator = Generator(tiny.backbone(), None, choose_runtime("cpu"))

    def broken(*_):
        raise RuntimeError("the shapes do not match")

    monkeypatch.setattr(generator.backbone, "decode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        list(generator.generate(request()))


STARVED = """
import resource, sys
import tiny, torch
from vcm.conditions.attributes import resolve
from vcm.core.errors import VcmError
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest
from vcm.core.grid import Grid
from vcm.machine.runtime import choose_runtime
torch.set_num_threads(1)
backbone = tiny.backbone()
request = GenerateRequest(resolve(backbone.attributes, {}, {}, ()), steps=1)
list(Generator(backbone, None, choose_runtime("cpu")).generate(request))
backbone.latent_shape = (3, 24, 32, 40)
backbone.grid = Grid((96, 128, 160), tiny.GRID.affine)
generator = Generator(backbone, None, choose_runtime("cpu"), memory="whole")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[1]) << 20), -1))
try:
    list(generator.generate(request))
except VcmError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the address space can only be limited on Linux")
@pytest.mark.parametrize("mebibytes", [4, 32, 96])
def test_memory_that_really_runs_out_ends_in_the_same_sentence(mebibytes):
    """How much is left decides whether the allocator or oneDNN fails, and each says it in other words."""
    support = Path(__file__).parents[1] / "support"
    environment = {**os.environ, "PYTHONPATH": str(support), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STARVED, str(mebibytes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "“whole” needs about" in done.stdout and "Try --memory slabs" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_is_the_same_before_and_after():
    chosen = plan(8)
    assert str(out_of_memory(chosen, 1)).endswith(
        "Try --memory offload, or close other programs that use the same memory."
    )
