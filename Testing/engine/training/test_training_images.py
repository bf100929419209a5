"""The tasks that learn from images: autoencoder and segmenter, from a cohort to a pack."""

import numpy as np
import pytest
import tiny
import torch
from small_cohort import write_cohort
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.judging.segmentation import PackSegmenter
from vcm.models.loading import load_backbone
from vcm.models.segmenter import load_places, load_segmenter
from vcm.models.shrinking import shrink_pack
from vcm.packs.store import find_pack
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.image_runs import open_autoencoder_run, open_segmenter_run
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.export.export import export_run
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners
from vcm.training.trainer.warm_start import turned

USUAL = {"backbone": "tiny", "batch": 2, "precision": "fp32", "log_every": 5, "warmup": 2, "ema": 0.5}
SMALL = {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1}


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def column(run, name):
    log = run.trainer.log
    return [float(row[log.columns.index(name)]) for row in log.rows]


def autoencoder(cases, folder, listeners=None, after=None, **settings):
    chosen = AutoencoderSettings(**{**USUAL, "steps": 30, "learning_rate": 5e-3, "adversary_channels": 4, **settings})
    return open_autoencoder_run(
        chosen, cases, folder, team=Team("cpu"), unseen=cases[:1], listeners=listeners, start=after
    )


def test_an_autoencoder_learns_to_give_images_back_and_meets_an_adversary_in_the_second_half(cases, packs, tmp_path):
    run = autoencoder(cases, tmp_path / "run")
    critic = run.trainer.task.adversary.network
    before = torch.cat([p.detach().flatten() for p in critic.parameters()])
    assert run.trainer.train() == "finished"
    assert column(run, "l1")[-1] < 0.8 * column(run, "l1")[0]
    assert column(run, "deceived")[:3] == [0, 0, 0] and column(run, "deceived")[-1] > 0
    assert not torch.equal(torch.cat([p.detach().flatten() for p in critic.parameters()]), before)


def test_an_autoencoder_goes_on_bit_for_bit_its_adversary_too(cases, packs, tmp_path):
    whole = autoencoder(cases, tmp_path / "whole", steps=6, adversary_from=0.3)
    whole.trainer.train()
    part = autoencoder(cases, tmp_path / "parts", steps=6, adversary_from=0.3)
    for _ in range(4):
        part.trainer._gather(part.trainer.take_step())
    part.trainer.save()
    rest = autoencoder(cases, tmp_path / "parts", steps=6, adversary_from=0.3)
    assert rest.trainer.step == 4
    rest.trainer.train()
    for one, other in ((whole, rest),):
        for a, b in zip(one.trainer.network.parameters(), other.trainer.network.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_new_autoencoder_becomes_a_pack_that_waits_for_its_denoiser(cases, packs, tmp_path):
    two_levels = {"channels": [4, 8], "num_res_blocks": [1, 1], "attention_levels": [False, False]}
    run = autoencoder(cases, tmp_path / "run", steps=3, coarsen=2, adversary=0.0, network=two_levels)
    run.trainer.train()
    export_run(tmp_path / "run", packs / "coarse")
    manifest = find_pack("coarse").backbone
    assert manifest.grid.shape == (8, 12, 16) and manifest.latent.shape == (3, 4, 6, 8)
    assert manifest.untrained == ("denoiser",) and "segmenter" not in manifest.files
    model = load_backbone(find_pack("coarse"))
    assert model.decode(model.encode(torch.rand(1, 1, 8, 12, 16))).shape == (1, 1, 8, 12, 16)


def test_a_segmenter_learns_and_judges_in_its_pack(cases, packs, tmp_path):
    chosen = SegmenterSettings(**{**USUAL, "steps": 40, "learning_rate": 2e-2, "network": SMALL, "reconstructed": 0.2})
    run = open_segmenter_run(chosen, cases, tmp_path / "run", team=Team("cpu"), unseen=cases[:2])
    assert run.trainer.train() == "finished"
    assert column(run, "dice_ce")[-1] < 0.8 * column(run, "dice_ce")[0]
    export_run(tmp_path / "run", packs / "judged")
    judge = PackSegmenter.from_pack(find_pack("judged"))
    labels = cases[0].read("labels").array
    found = judge.segment(cases[0].read("image")).array
    assert 2 * ((found == 1) & (labels == 1)).sum() / ((found == 1).sum() + (labels == 1).sum()) > 0.6


def test_a_segmenter_knows_where_its_cases_have_their_structures(cases, packs, tmp_path):
    """And keeps it through the trainings of other networks, but not in another grid's pack."""
    chosen = SegmenterSettings(**{**USUAL, "steps": 1, "network": SMALL})
    open_segmenter_run(chosen, cases, tmp_path / "run", team=Team("cpu")).trainer.train()
    export_run(tmp_path / "run", packs / "placed")
    places = load_places(find_pack("placed"))
    assert places.shape == (11, *cases[0].read("image").grid.shape) and places[0].all()
    axis = cases[0].read("image").grid.left_right
    for case in cases:
        labels = torch.from_numpy(case.read("labels").array.astype(int))
        for seen in (labels, labels.flip(axis)):
            assert places.gather(0, seen[None]).all()
    assert places[1].any() and not places[10].any()
    shrink_pack(find_pack("placed"), packs / "shrunk")
    assert torch.equal(load_places(find_pack("shrunk")), places)
    again = autoencoder(cases, tmp_path / "other", backbone="placed", steps=1, coarsen=2, adversary=0.0)
    again.trainer.train()
    export_run(tmp_path / "other", packs / "elsewhere")
    assert set(find_pack("elsewhere").backbone.files) == {"autoencoder", "denoiser"}


def test_a_corrupt_image_is_told_and_left_out(packs, tmp_path):
    own = write_cohort(tmp_path / "cohort")
    (own[2].folder / "image.nii.gz").write_bytes(b"nothing")
    said = []
    run = autoencoder(own, tmp_path / "run", Listeners(say=said.append), steps=1)
    assert len(run.trainer.task) == 2
    assert any("Case 00002 is left out" in words for words in said)


def test_a_segmenter_learns_on_crops_with_their_labels(cases, packs, tmp_path):
    """A crop that were cut elsewhere from the labels than from the image could not be learned."""
    chosen = SegmenterSettings(
        **{**USUAL, "steps": 60, "learning_rate": 2e-2, "network": SMALL, "reconstructed": 0.2, "crop": 12}
    )
    run = open_segmenter_run(chosen, cases, tmp_path / "run", team=Team("cpu"), unseen=cases[:2])
    assert run.trainer.train() == "finished"
    assert run.trainer.task.cache.images.shape[1:] == (16, 24, 32)
    assert run.trainer.validate()["dice"] > 0.3


def test_an_autoencoder_begins_with_what_another_one_learned(cases, packs, tmp_path):
    first = autoencoder(cases, tmp_path / "first", steps=4)
    first.trainer.train()
    second = autoencoder(cases, tmp_path / "second", steps=4, learning_rate=1e-9, after=tmp_path / "first")
    for mine, theirs in zip(
        second.trainer.network.parameters(), first.trainer.average.network.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_both_begin_with_the_networks_of_a_pack_and_go_on_with_their_own(cases, packs, tmp_path):
    shipped = find_pack("tiny")
    options = {**shipped.backbone.networks["autoencoder"]}
    run = autoencoder(cases, tmp_path / "run", steps=4, start="tiny", network=options)
    theirs = load_backbone(shipped).autoencoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in run.trainer.network.state_dict().items())
    run.trainer.train()
    learned = {name: tensor.clone() for name, tensor in run.trainer.network.state_dict().items()}
    again = autoencoder(cases, tmp_path / "run", steps=4, start="tiny", network=options).trainer.network.state_dict()
    assert all(torch.equal(tensor, learned[name]) for name, tensor in again.items())
    assert not all(torch.equal(tensor, theirs[name]) for name, tensor in again.items())

    known = SegmenterSettings(**{**USUAL, "steps": 3, "network": SMALL})
    open_segmenter_run(known, cases, tmp_path / "known", team=Team("cpu")).trainer.train()
    export_run(tmp_path / "known", packs / "judged")
    chosen = SegmenterSettings(**{**USUAL, "steps": 1, "network": SMALL, "start": "judged", "seed": 5})
    segmenter = open_segmenter_run(chosen, cases, tmp_path / "segmenter", team=Team("cpu")).trainer.network
    theirs = load_segmenter(find_pack("judged")).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in segmenter.state_dict().items())


def test_kernels_are_turned_to_the_order_of_the_axes_that_they_will_see():
    las = Grid((8, 10, 12), np.diag([-2.0, 2, 2, 1]))
    sra = Grid((12, 8, 10), [[0, 2, 0, 0], [0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 1]])
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 3, 3, padding=1), torch.nn.Conv3d(3, 4, 3, stride=2, padding=1),
        torch.nn.ConvTranspose3d(4, 2, 3, stride=2, padding=1, output_padding=1),
    )  # fmt: skip
    image = torch.rand(1, 1, *las.shape)
    with torch.no_grad():
        expected = network(image).permute(0, 1, 4, 2, 3)
        network.load_state_dict(turned(network.state_dict(), las, sra))
        assert torch.allclose(network(image.permute(0, 1, 4, 2, 3)), expected, atol=1e-6)
        network.load_state_dict(turned(network.state_dict(), sra, las))
        assert torch.allclose(network(image).permute(0, 1, 4, 2, 3), expected, atol=1e-6)


def test_a_pack_with_another_network_is_no_start(cases, packs, tmp_path):
    with pytest.raises(VcmError, match="The autoencoder of the pack tiny is of a different network"):
        autoencoder(cases, tmp_path / "run", start="tiny", network={"channels": [4, 8, 16]})
    with pytest.raises(VcmError, match="tiny has no segmenter of its own"):
        chosen = SegmenterSettings(**{**USUAL, "steps": 1, "network": SMALL, "start": "tiny"})
        open_segmenter_run(chosen, cases, tmp_path / "segmenter", team=Team("cpu"))
    with pytest.raises(VcmError, match="second stage"):
        AutoencoderSettings(start="tiny", stage=2)


def test_an_autoencoder_is_taught_by_what_a_segmenter_sees(cases, packs, tmp_path):
    judge = SegmenterSettings(**{**USUAL, "steps": 3, "network": SMALL})
    open_segmenter_run(judge, cases, tmp_path / "judge", team=Team("cpu")).trainer.train()
    export_run(tmp_path / "judge", packs / "judge")
    told = {"features": 0.5, "judge": "judge", "adversary": 0.0, "steps": 2, "crop": 8}
    run = autoencoder(cases, tmp_path / "run", **told)
    weights = [p.clone() for p in run.trainer.task.judge.network.parameters()]
    run.trainer.train()
    assert column(run, "seen")[-1] > 0
    assert all(torch.equal(a, b) for a, b in zip(weights, run.trainer.task.judge.network.parameters(), strict=True))
    same = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    seen = run.trainer.task.judge.difference
    assert float(seen(same, same)) == 0 < float(seen(same.flip(2), same))


def test_features_without_a_judge_are_refused():
    with pytest.raises(VcmError, match="judge"):
        AutoencoderSettings(features=0.1)
