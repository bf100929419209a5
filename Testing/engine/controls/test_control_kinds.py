"""What every kind of control has in common: subsets, strength, window, region, and a backbone that is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from tiny_controls import KINDS, SPECS, condition, fresh, manifest, trained
from torch.nn import functional
from vcm.conditions.condition import Condition
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.models.controls.control import Step
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.loop import sample_latents

UNTRAINED_IS_SILENT = ["controlnet", "controlnet-lite", "controlnet-mlp", "mcm", "mcm-l"]
RATES = {"mcm-l": 5e-4, "controlnet-lite": 5e-3, "controlnet-mlp": 5e-3}
INPUTS = torch.tensor([[1.0, 0.3, 0.6, 0.2]])
PACKINGS = [1, 2]
"""With 2 the U-Net works on 2 × 3 × 4 places, which it cannot halve without padding."""

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


def backbone(packing: int = 1):
    return tiny.backbone(packing, prediction="v" if packing > 1 else "epsilon")


def guided(control, *conditions: Condition, packing: int = 1, t: float = 500.0) -> torch.Tensor:
    latent = torch.randn(2, *tiny.LATENT, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return GuidedDenoiser(backbone(packing), INPUTS, control, conditions)(latent, t).value


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", UNTRAINED_IS_SILENT)
def test_before_its_first_step_it_changes_nothing(kind, packing):
    made = guided(fresh(kind, packing).eval(), condition(0), condition(1), packing=packing)
    assert close(made, guided(None, packing=packing))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_condition_counts_and_so_does_each_subset(kind, packing):
    control = trained(kind, packing)
    both, first, second, none = (
        guided(control, *given, packing=packing)
        for given in ((condition(0), condition(1)), (condition(0),), (condition(1),), ())
    )
    made = [both, first, second, none]
    assert all(torch.isfinite(one).all() for one in made)
    assert not any(close(one, other) for place, one in enumerate(made) for other in made[:place])


@pytest.mark.parametrize("kind", KINDS)
def test_a_strength_of_zero_is_the_same_as_not_giving_the_condition(kind):
    control = trained(kind)
    assert torch.equal(guided(control, condition(0, strength=0.0), condition(1)), guided(control, condition(1)))
    unguided, full = guided(control), guided(control, condition(0))
    assert close(guided(control, condition(0, strength=0.5)) - unguided, (full - unguided) * 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_and_a_window_of_no_step_give_the_uncontrolled_latent_bit_for_bit(kind):
    control, model = trained(kind), backbone()
    noise = torch.randn(1, *tiny.LATENT, generator=torch.Generator().manual_seed(1))
    alone = sample_latents(model, INPUTS, noise, steps=4)
    off, late, on = (
        sample_latents(model, INPUTS, noise, control, [condition(0, **options)], steps=4)
        for options in ({"strength": 0.0}, {"start": 0.05, "end": 0.06}, {})
    )
    assert torch.equal(off, alone) and torch.equal(late, alone) and not torch.equal(on, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_a_region_the_prediction_is_the_backbones_own(kind):
    weights = torch.zeros(tiny.GRID.shape)
    weights[:8] = 1
    region = Volume(weights.numpy(), tiny.GRID)
    control = trained(kind)
    inside, unguided = guided(control, condition(0, region=region)), guided(control)
    assert torch.equal(inside[:, :, 3:], unguided[:, :, 3:])
    assert close(inside[:, :, 0], guided(control, condition(0))[:, :, 0])
    assert not close(inside[:, :, 0], unguided[:, :, 0])


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_whole_control_and_nothing_else(kind, packing):
    model = backbone(packing).requires_grad_(False)
    control = trained(kind, packing).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.AdamW(control.network.parameters(), 1e-3)
    latent = torch.randn(2, *tiny.LATENT)
    step = Step.on(model, INPUTS, latent, torch.tensor([700.0, 300.0]))
    given = {spec.name: torch.rand(2, spec.channels, *tiny.GRID.shape) for spec in SPECS}
    made, penalty = control.learn(step, given)
    (made.square().mean() + penalty).backward()
    lost = [name for name, p in control.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not lost
    optimiser.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_does_without_a_condition_learns_as_if_it_had_not_been_given(kind):
    model, control = backbone(), trained(kind)
    latent, t = torch.randn(2, *tiny.LATENT), torch.tensor([700.0, 300.0])
    given = {spec.name: torch.rand(2, spec.channels, *tiny.GRID.shape) for spec in SPECS}
    kept = {"ventricles": torch.tensor([1.0, 0.0]), "skull": torch.tensor([1.0, 1.0])}
    with torch.no_grad():
        made, _ = control.learn(Step.on(model, INPUTS, latent, t), given, kept)
        second = Step.on(model, INPUTS, latent[1:], t[1:])
        state = control.prepare({name: one[1:] for name, one in given.items()}, [frozenset(["skull"])])
        assert close(made[1:], control.guide(second, state, frozenset(["skull"])))


@pytest.mark.parametrize("kind", KINDS)
def test_computing_again_instead_of_keeping_gives_the_same_gradients(kind):
    model, control = backbone().requires_grad_(False), trained(kind).train()
    latent, t = torch.randn(1, *tiny.LATENT), torch.tensor([400.0])
    given = {spec.name: torch.rand(1, spec.channels, *tiny.GRID.shape) for spec in SPECS}
    found = []
    for recompute in (False, True):
        control.network.zero_grad()
        made, _ = control.learn(Step.on(model, INPUTS, latent, t), given, recompute=recompute)
        made.square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in control.network.parameters()]))
    assert found[0].any() and torch.allclose(*found, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_on_two_cases_teach_which_of_them_a_condition_asks_for(kind):
    model = backbone(2).requires_grad_(False)
    control = fresh(kind, 2).train()
    control.begin(model)
    generator = torch.Generator().manual_seed(2)
    given = {spec.name: torch.zeros(4, spec.channels, *tiny.GRID.shape) for spec in SPECS}
    given["ventricles"][:2, :, 4:12, 8:20, 8:16] = 1
    given["ventricles"][2:, :, 2:8, 2:12, 18:30] = 1
    clean = 3 * functional.adaptive_avg_pool3d(given["ventricles"], tiny.LATENT[1:]).expand(-1, 3, -1, -1, -1)
    t = torch.full((4,), 930.0)  # the latent itself says next to nothing there
    alpha, sigma = model.process.levels(t)
    optimiser = torch.optim.AdamW(control.network.parameters(), RATES.get(kind, 2e-3))

    def error(conditions, where):
        noise = torch.randn(clean.shape, generator=generator)
        made, _ = control.learn(Step.on(model, INPUTS, alpha * clean + sigma * noise, t), conditions)
        return ((made - noise) / alpha).square()[where].mean()

    everywhere, inside = clean > -1, clean > 1
    first = float(error(given, inside).detach())
    for _ in range(60):
        optimiser.zero_grad()
        error(given, everywhere).backward()
        optimiser.step()
    with torch.no_grad():
        last, other = (float(error(one, inside)) for one in (given, {n: c.flip(0) for n, c in given.items()}))
    assert last < 0.7 * first and last < 0.85 * other, (first, last, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_the_network_does_not_have_is_refused_by_name(kind):
    with pytest.raises(VcmError, match="no part colour"):
        type(trained(kind)).configure(manifest(), SPECS, "small", {"colour": 3})
    with pytest.raises(VcmError, match="no variant released"):
        type(trained(kind)).configure(manifest(), SPECS, "released", {})


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_may_come_as_the_backbones_latent(kind):
    latents = (SPECS[0], replace(SPECS[1], preparer="latent"))
    control = trained(kind, specs=latents)
    assert control.latent_conditions == ("skull",)
    given = [Condition(spec, condition(place).volume) for place, spec in enumerate(latents)]
    both, mask = guided(control, *given), guided(control, given[0])
    assert torch.isfinite(both).all() and not close(both, mask)
