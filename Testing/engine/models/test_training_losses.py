"""Eq. 4 and its weights."""

import pytest
import torch
from vcm.core.errors import VcmError
from vcm.models.process import VariancePreserving
from vcm.training.control.losses import WEIGHTINGS, control_loss, focus_on

SHAPE = (2, 3, 4, 6, 8)


def draw(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def l1(gamma, beta):
    return gamma.abs().mean() + beta.abs().mean()


def test_without_weights_it_is_equation_4():
    eps, noise, gamma, beta = (draw(n) for n in range(4))
    expected = ((eps - noise) ** 2).mean() + (gamma.abs().mean() + beta.abs().mean()) / noise.numel()
    assert control_loss(eps, noise, l1(gamma, beta), torch.ones(2, 1, 1, 1, 1)) == pytest.approx(expected.item())


def test_a_given_weight_stands_in_for_lambda():
    zero, gamma, beta = torch.zeros(SHAPE), draw(1), draw(2)
    loss = control_loss(zero, zero, l1(gamma, beta), torch.ones(2, 1, 1, 1, 1), l1_weight=0.5)
    assert loss.item() == pytest.approx(0.5 * (gamma.abs().mean() + beta.abs().mean()).item())


def test_the_weighting_v_measures_the_error_of_v():
    latent, noise, wrong = draw(1), draw(2), draw(3)
    levels = VariancePreserving().levels(torch.tensor([999.0, 120.5]))
    alpha_bar = levels[0].square()
    noisy = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise
    v = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latent
    eps = (1 - alpha_bar).sqrt() * noisy + alpha_bar.sqrt() * (v + 0.3 * wrong)
    loss = control_loss(eps, noise, torch.zeros(()), WEIGHTINGS["v"](*levels))
    assert loss.item() == pytest.approx((0.3 * wrong).square().mean().item(), rel=1e-2)


def test_min_snr_leaves_high_noise_and_lowers_low_noise():
    levels = VariancePreserving().levels(torch.tensor([999.0, 0.0]))
    high, low = WEIGHTINGS["min_snr"](*levels).flatten().tolist()
    assert high == 1
    assert low < 0.01


def near_mask():
    mask = torch.zeros(1, 1, 80, 112, 80)
    mask[:, :, 12:14, 50:52, 61:63] = 1  # the latent's voxels 3, 12, 15
    return mask


def test_the_focus_is_near_the_mask_and_has_a_mean_of_one():
    place = focus_on({"ventricles": near_mask()}, {}, (20, 28, 20), 3.0)
    assert place.mean().item() == pytest.approx(1, abs=1e-5)
    assert place[0, 0, 3, 12, 15] == place[0, 0, 2, 13, 16]
    assert place[0, 0, 1, 12, 15] == place[0, 0, 15, 3, 12]
    assert place[0, 0, 3, 12, 15].item() == pytest.approx(4 * place[0, 0, 15, 3, 12].item())


def test_a_table_gives_each_condition_its_own_focus():
    other = torch.zeros(1, 1, 80, 112, 80)
    other[:, :, 60:64, 20:24, 20:24] = 0.3  # an image: the latent's voxel 15, 5, 5
    both = {"ventricles": near_mask(), "skull": other}
    place = focus_on(both, {}, (20, 28, 20), {"ventricles": 15, "skull": 2})
    far = place[0, 0, 10, 10, 10].item()
    assert place[0, 0, 3, 12, 15].item() == pytest.approx(16 * far)
    assert place[0, 0, 15, 5, 5].item() == pytest.approx(3 * far)


def test_a_focus_can_be_on_some_classes_of_a_label_map():
    labels = torch.zeros(1, 3, 8, 12, 16)
    labels[0, 0, 0:2, 0:2, 0:2] = 1
    labels[0, 2, 6:8, 10:12, 14:16] = 1
    place = focus_on({"semantics": labels}, {"semantics": [2, 4, 7]}, (4, 6, 8), {"semantics:7": 5, "semantics": 1})
    far = place[0, 0, 3, 0, 0].item()
    assert place[0, 0, 3, 5, 7].item() == pytest.approx(7 * far)
    assert place[0, 0, 0, 0, 0].item() == pytest.approx(2 * far)


def test_a_focus_on_an_edge_is_where_the_outline_runs_and_not_inside():
    brain = torch.zeros(1, 1, 16, 24, 32)
    brain[:, :, 4:13, 4:16, 8:24] = 1  # the latent's voxels 1–3 (of 3 only one slice), 1–3 and 2–5
    place = focus_on({"brain": brain}, {}, (4, 6, 8), {"brain edge": 4})
    far = place[0, 0, 0, 0, 0].item()
    assert place[0, 0, 3, 2, 3].item() == pytest.approx(5 * far)
    assert place[0, 0, 1, 2, 3].item() == place[0, 0, 2, 3, 5].item() == place[0, 0, 0, 2, 3].item() == far
    assert (place > far).sum() == 3 * 4


def test_an_edge_can_be_that_of_some_classes():
    labels = torch.zeros(1, 3, 8, 12, 16)
    labels[0, 0, 0, 0, 0] = labels[0, 2, 7, 11, 15] = 1
    place = focus_on({"semantics": labels}, {"semantics": [2, 4, 7]}, (4, 6, 8), {"semantics:4,7 edge": 2})
    assert (place > place.min()).nonzero()[:, 2:].tolist() == [[3, 5, 7]]


def test_a_focus_on_a_class_that_is_not_there_is_refused():
    labels = {"semantics": torch.zeros(1, 3, 8, 12, 16)}
    with pytest.raises(VcmError, match=r"class 5, 9 of semantics, which has no such class\. Its classes are 2, 4, 7"):
        focus_on(labels, {"semantics": [2, 4, 7]}, (4, 6, 8), {"semantics:4,9,5": 1})


def test_without_focus_every_place_counts_alike():
    place = focus_on({"ventricles": torch.rand(2, 1, 8, 12, 16).round()}, {}, (4, 6, 8), 0.0)
    assert torch.equal(place, torch.ones(2, 1, 4, 6, 8))
