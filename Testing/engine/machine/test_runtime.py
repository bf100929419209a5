"""Which device is chosen, in which number format, and in which words; what is free on it."""

from __future__ import annotations

import platform

import psutil
import pytest
import torch
from vcm.core.errors import Code, VcmError
from vcm.machine import runtime
from vcm.machine.runtime import Runtime, autocast_bf16, choose_runtime, fix_results, free_memory, has_bf16


@pytest.fixture
def gpu(monkeypatch):
    """One NVIDIA GPU with 6 of 8 GB free, as PyTorch would report it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Test 8")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6 * 10**9, 8 * 10**9))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_an_nvidia_gpu_comes_first_in_fp16_with_its_memory_in_words(gpu):
    chosen = choose_runtime()
    assert chosen.device.type == "cuda" and chosen.dtype is torch.float16 and chosen.has_graphs
    assert chosen.words == "NVIDIA Test 8 (6.0 of 8.0 GB free), fp16"
    assert choose_runtime("gpu").device.type == "cuda"
    assert choose_runtime("CUDA:0").device == torch.device("cuda:0")


def test_apples_gpu_comes_next(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    chosen = choose_runtime()
    assert chosen.device.type == "mps" and chosen.precision == "fp16" and not chosen.has_graphs
    assert chosen.words == "Apple GPU, fp16"


def test_the_processor_is_the_last_and_computes_in_fp32(no_gpu):
    chosen = choose_runtime()
    assert chosen.device.type == "cpu" and chosen.dtype is torch.float32 and not chosen.has_graphs
    assert chosen.words.startswith("CPU (") and chosen.words.endswith("fp32")


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_the_usual_one_in_training_only_where_the_processor_has_it(no_gpu, monkeypatch, fast):
    monkeypatch.setattr(runtime, "has_bf16", lambda _: fast)
    cpu = torch.device("cpu")
    for precision, expected in (("auto", fast), ("bf16", True), ("fp32", False)):
        with autocast_bf16(cpu, precision):
            assert torch.is_autocast_enabled("cpu") is expected, precision
    assert choose_runtime("cpu", "bf16").words.endswith("slowly") is not fast


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86's instruction sets")
def test_a_processor_without_avx512_does_not_compute_in_bf16():
    assert has_bf16(torch.device("cpu")) is torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def test_the_processor_can_be_asked_for_beside_a_gpu(gpu):
    assert choose_runtime("cpu").device.type == "cpu"


def test_bf16_on_a_processor_is_a_matter_of_each_operation_over_fp32_weights(no_gpu):
    chosen = choose_runtime("cpu", "bf16")
    assert chosen.dtype is torch.float32 and ", bf16" in chosen.words
    with chosen.autocast():
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16 and torch.is_autocast_enabled("cpu")
    with choose_runtime("cpu").autocast():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("device", "words"),
    [("cuda", "finds no NVIDIA GPU"), ("gpu", "No GPU"), ("mps", "not available here"), ("cuda:3", "no NVIDIA GPU")],
)
def test_a_device_that_is_not_there_is_an_error_and_never_another_device(no_gpu, device, words):
    with pytest.raises(VcmError, match=words) as caught:
        choose_runtime(device)
    assert caught.value.code is Code.DEVICE and "--device cpu" in caught.value.remedy


def test_a_gpu_beyond_the_last_is_an_error_with_their_number(gpu):
    with pytest.raises(VcmError, match="no GPU 1: this machine has 1, counted from 0"):
        choose_runtime("cuda:1")


@pytest.mark.parametrize("device", ["", "quantum", "cuda:x", "meta", "xpu", "cpu:0:1"])
def test_a_word_that_is_no_device_is_refused(device):
    with pytest.raises(VcmError, match="must be auto, cpu, cuda, cuda:N or mps") as caught:
        choose_runtime(device)
    assert caught.value.code is Code.BAD_REQUEST


def test_half_precision_is_refused_on_a_processor_and_an_unknown_one_anywhere(no_gpu):
    with pytest.raises(VcmError, match="fp16") as caught:
        choose_runtime("cpu", "fp16")
    assert "bf16" in caught.value.remedy
    with pytest.raises(VcmError, match="auto, fp32, fp16, bf16, mixed; not 'fp8'"):
        choose_runtime("cpu", "fp8")


def test_a_clock_can_be_read_on_a_processor_at_once():
    Runtime(torch.device("cpu"), "fp32", "").synchronise()


def test_a_clock_is_read_only_when_the_gpu_is_done(gpu, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    choose_runtime().synchronise()
    assert waited == [torch.device("cuda")]


def test_free_memory_of_a_gpu_is_its_own(gpu):
    assert free_memory(torch.device("cuda")) == 6 * 10**9


def control_group(folder, limit: str, used: int, cache: int):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cache}\nfile {cache}\ninactive_file {cache}\n")
    return folder


def test_a_containers_limit_counts_without_its_file_cache(tmp_path):
    assert runtime._container_limit(control_group(tmp_path, "8000", 5000, 2000)) == 5000
    assert runtime._container_limit(control_group(tmp_path, "8000", 9000, 500)) == 0


def test_no_limit_is_no_limit(tmp_path):
    assert runtime._container_limit(control_group(tmp_path, "max", 5000, 2000)) is None
    assert runtime._container_limit(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(("limit", "expected"), [(10**6, 10**6), (10**18, None), (None, None)])
def test_free_main_memory_is_what_machine_and_container_both_allow(monkeypatch, limit, expected):
    monkeypatch.setattr(runtime, "_container_limit", lambda: limit)
    available = psutil.virtual_memory().available
    found = free_memory(torch.device("cpu"))
    assert found == expected if expected else 0.5 * available < found < 2 * available


@pytest.fixture
def loose_arithmetic():
    """PyTorch set to be fast rather than to repeat itself, and set back afterwards."""
    settings = [
        (torch.backends.cudnn, "benchmark", True),
        (torch.backends.cudnn, "deterministic", False),
        (torch.backends.cudnn, "allow_tf32", True),
        (torch.backends.cuda.matmul, "allow_tf32", True),
    ]
    before = [getattr(flags, name) for flags, name, _ in settings]
    for flags, name, loose in settings:
        setattr(flags, name, loose)
    yield
    for (flags, name, _), value in zip(settings, before, strict=True):
        setattr(flags, name, value)


def test_results_on_a_gpu_are_made_to_repeat(loose_arithmetic, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    fix_results(torch.device("cuda"))
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_a_processor_needs_no_such_settings(loose_arithmetic):
    fix_results(torch.device("cpu"))
    assert torch.backends.cudnn.benchmark
