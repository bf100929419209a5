"""What only a CUDA GPU can show; skipped where there is none."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from small_cohort import NETWORK, control_around, write_cohort, write_latents
from test_training_plan import full_size
from vcm.cohort.learning_cases import condition_specs
from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.machine.runtime import choose_runtime
from vcm.models.backbones.autoencoders import build_autoencoder
from vcm.models.backbones.latent_diffusion import LatentDiffusion, build_denoiser
from vcm.models.loading import load_backbone, load_control
from vcm.packs.store import find_pack
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest
from vcm.training.control.run import new_control
from vcm.training.control.settings import ControlSettings
from vcm.training.control.task import ControlTask
from vcm.training.data.latent_cache import Batch
from vcm.training.plan import CARD, estimate
from vcm.training.trainer.graphed_loss import GraphedLoss
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

NAMES = ("ventricles", "skull", "semantics")


def cache_on(device, folder, names=NAMES):
    cases = write_cohort(folder / "cohort")
    return write_latents(tiny.backbone(prediction="v"), cases, folder / "latents", names, device=device)


def test_a_batch_from_the_gpu_s_memory_is_the_one_from_the_processor_s(tmp_path):
    there, here = cache_on("cuda", tmp_path), cache_on("cpu", tmp_path)
    assert there.home.type == "cuda"
    one, other = there.batch([2, 0, 2], [True, False, False], "cuda"), here.batch([2, 0, 2], [True, False, False])
    assert torch.equal(one.latent.cpu(), other.latent) and torch.equal(one.attributes.cpu(), other.attributes)
    for name in NAMES:
        assert torch.allclose(one.conditions[name].cpu(), other.conditions[name], atol=1e-7)
        assert one.conditions[name].any()


def test_a_training_on_the_gpu_goes_on_where_it_was_ended(tmp_path):
    settings = ControlSettings(conditions=("ventricles",), steps=40, batch=3, save_every=10, network=dict(NETWORK))

    def trainer(folder):
        backbone = tiny.backbone(prediction="v").cuda().requires_grad_(False)
        torch.manual_seed(0)
        network = tiny.build_control(NETWORK, {"ventricles": 1}).cuda()
        cache = cache_on("cuda", tmp_path, ("ventricles",))
        task = ControlTask(settings, backbone, control_around(network), cache, identity={})
        return Trainer(settings, task, folder, Team("cuda"))

    whole = trainer(tmp_path / "whole")
    losses = [whole.take_step()["loss"] for _ in range(30)]
    first = trainer(tmp_path / "cut")
    for _ in range(20):
        first.take_step()
    first.save()
    second = trainer(tmp_path / "cut")
    assert second.step == 20
    assert [second.take_step()["loss"] for _ in range(10)] == pytest.approx(losses[20:], rel=0.05)


def test_a_captured_training_step_learns_what_a_launched_one_does(tmp_path, monkeypatch):
    names = ("ventricles", "skull")
    settings = ControlSettings(
        conditions=names,
        steps=40,
        batch=3,
        dropout={"skull": 0.5},
        network=dict(NETWORK),
        focus={"ventricles edge": 3.0},
    )

    def losses(folder):
        backbone = tiny.backbone(prediction="v").cuda().requires_grad_(False)
        torch.manual_seed(0)
        network = tiny.build_control(NETWORK, dict.fromkeys(names, 1)).cuda()
        task = ControlTask(
            settings, backbone, control_around(network, names), cache_on("cuda", tmp_path, names), identity={}
        )
        trainer = Trainer(settings, task, folder, Team("cuda"))
        return task, [trainer.take_step()["loss"] for _ in range(30)]

    task, captured = losses(tmp_path / "captured")
    assert all(task._made[1]._captured.values()), "the step was not captured"
    monkeypatch.setattr(GraphedLoss, "_try_to_capture", lambda self, tensors: None)
    launched = losses(tmp_path / "launched")[1]
    assert captured == pytest.approx(launched, rel=0.05)
    assert captured[-1] < captured[0]


def test_the_model_that_ships_makes_the_processor_s_image_by_graphs_in_fp16():
    pack, control = find_pack("brainldm-mini"), find_pack("brainldm-mini-ventricles")
    mask = np.zeros(pack.backbone.grid.shape, np.uint8)
    mask[30:38, 50:70, 38:50] = mask[42:50, 50:70, 38:50] = 1

    def image(device):
        backbone, steering = load_backbone(pack), load_control(control)
        attributes = tuple(SimpleNamespace(raw=0.5) for _ in backbone.attributes)
        conditions = (Condition(steering.conditions[0], Volume(mask, backbone.grid)),)
        generator = Generator(backbone, steering, choose_runtime(device))
        (sample,) = generator.generate(GenerateRequest(attributes, conditions, seed=4))
        return sample.volume.array

    here, there = image("cpu"), image("cuda")
    assert np.abs(here - there).mean() < 0.01
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.995


def test_a_full_size_control_of_three_conditions_learns_within_24_gb(tmp_path, capsys):
    """The paper's batch, one item at a time, where PyTorch may take no more than that."""
    names = ("brain", "ventricles", "skull")
    settings = ControlSettings(
        backbone="brainldm", conditions=names, variant="paper", batch=4, micro_batch=1, recompute=True,
        dropout="paper", weighting="epsilon", focus=0.0, course="linear",
    )  # fmt: skip
    manifest, specs = full_size(), condition_specs(names)
    shape = manifest.latent.shape
    with torch.device("cuda"):
        backbone = LatentDiffusion(
            grid=manifest.grid, latent_shape=shape, process=manifest.process,
            attributes=manifest.attributes, autoencoder=build_autoencoder(manifest.networks["autoencoder"]),
            denoiser=build_denoiser(manifest.networks["denoiser"]),
        ).requires_grad_(False)  # fmt: skip
        control = new_control(settings, manifest, specs)

    class Cache:
        identity = "made up"

        def __init__(self):
            self.specs = specs

        def __len__(self):
            return 4

        def voxels(self, spec, items, mirrored=None):
            return torch.rand(len(items), 1, *manifest.grid.shape).gt(0.9).float()

        def batch(self, items, mirrored, device):
            conditions = {spec.name: self.voxels(spec, items).to(device) for spec in specs}
            attributes = torch.rand(len(items), len(manifest.attributes), device=device)
            return Batch(torch.randn(len(items), *shape, device=device), conditions, attributes)

    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, CARD / whole))
    torch.cuda.reset_peak_memory_stats()
    try:
        task = ControlTask(settings, backbone, control, Cache(), identity={})
        trainer = Trainer(settings, task, tmp_path, Team("cuda"))
        trainer.take_step()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        trainer.take_step()
        end.record()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_reserved()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    planned = estimate(manifest, settings, specs).memory(1, True)
    with capsys.disabled():
        seconds = start.elapsed_time(end) / 1000 / settings.batch
        print(f"\nfull size: planned {planned / 1e9:.1f} GB, taken {peak / 1e9:.1f} GB, {seconds:.2f} s an item")
    assert peak < CARD and peak < planned
