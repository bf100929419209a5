"""Which GPU a process takes among those of its machine."""

import pytest
import torch
from vcm.machine.local_device import device_of_local_rank


@pytest.fixture(params=[0, 1, 4])
def gpus(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return request.param


@pytest.mark.parametrize("device", ["auto", "gpu", "CUDA"])
def test_each_process_takes_a_gpu_of_its_own_and_says_which(gpus, device):
    for rank in range(6):
        own, words = device_of_local_rank(device, rank)
        if not gpus:
            assert (own, words) == (device, "")
        else:
            assert own == f"cuda:{rank % gpus}" and own in words
            assert ("shares" in words) == (rank >= gpus)


@pytest.mark.parametrize("device", ["cpu", "cuda:2", "mps"])
def test_a_device_that_was_named_is_left_alone(gpus, device):
    assert device_of_local_rank(device, 3) == (device, "")
