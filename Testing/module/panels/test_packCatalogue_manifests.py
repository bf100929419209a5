"""Which models there are, read from their manifests, the same as the worker finds them."""

import json
import os
import shutil
import sys

import pytest
from opened import tinyPacks  # noqa: F401
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import Kind
from vcm.packs.store import default_backbone, packs_folder
from vcm.protocol import ListPacks
from vcm.runs.choice import choose_packs
from vcm.worker.survey import survey_packs
from VCMSlicerLib.install import userFolders
from VCMSlicerLib.models.packCatalogue import DEFAULT_PACK, findPack, listPacks
from VCMSlicerLib.models.packInfo import AVAILABLE, BROKEN, READY, ConditionInfo, ControlInfo, PackInfo, defaultValue


@pytest.fixture
def packs(tinyPacks, tmp_path, monkeypatch):  # noqa: F811
    """A copy of the tiny packs to spoil."""
    folder = tmp_path / "packs"
    shutil.copytree(tinyPacks, folder)
    monkeypatch.setenv("VCM_PACKS", str(folder))
    return folder


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_worker_finds_the_same_models(packs):
    theirs = {entry.name: entry.state for entry in survey_packs(ListPacks("x")).packs if entry.kind == "backbone"}
    assert {pack.name: pack.state for pack in listPacks()} == theirs
    assert default_backbone() == DEFAULT_PACK


def test_a_model_has_the_grid_attributes_and_conditions_of_its_manifests(packs):
    tiny = findPack("tiny")
    assert tiny.state == READY and tiny.title == "Tiny" and tiny.licence == "Apache-2.0"
    assert tiny.grid.shape == (16, 24, 32) and tiny.grid.affine[1].tolist() == [0, 4, 0, -52]
    assert [(c.name, c.kind) for c in tiny.conditions] == [("ventricles", "mask"), ("skull", "image")]
    assert tiny.conditions[0].classes[0].segmenter == (2,)
    attributes = {entry.name: entry for entry in tiny.attributes}
    assert list(attributes["sex"].choices) == ["F", "M"] and defaultValue(attributes["sex"]) == "F"
    assert defaultValue(attributes["age"]) == 63.0 and attributes["age"].unit == "years"
    assert defaultValue(attributes["brain_volume"]) == 0.5 and attributes["brain_volume"].low is None
    assert not tiny.hasSegmenter and findPack(DEFAULT_PACK).hasSegmenter
    ventricles = findPack(DEFAULT_PACK).condition("ventricles")
    assert ventricles.parts(ventricles.classes[0]) == ("lateral ventricles",)


def test_a_model_of_a_family_that_is_installed_for_the_worker_alone_has_its_row(packs):
    """Slicer's Python has neither the package of the family nor its noise schedule; the manifest says all it needs."""
    from toy_site import GRID, LATENT, write_backbone

    write_backbone(packs)
    toy = findPack("toy")
    assert toy.state == READY and toy.contrast == "T2w" and toy.grid.shape == GRID.shape and len(LATENT) == 4
    assert [attribute.name for attribute in toy.attributes] == ["age", "sex"]
    assert list(toy.attributes[1].choices) == ["F", "M"] and defaultValue(toy.attributes[0]) == 50.0


def test_what_is_not_here_says_what_it_needs(packs):
    there = findPack("brainldm")
    assert there.state == AVAILABLE and "2.3 GB" in there.words and "Apache-2.0" in there.words and there.grid is None


SPOILED = (
    (lambda f: (f / "denoiser.safetensors").unlink(), "denoiser.safetensors is missing"),
    (lambda f: (f / "denoiser.safetensors").write_bytes(b"short"), "5 bytes where"),
    (lambda f: (f / "manifest.json").write_text("{"), "not valid JSON"),
    (lambda f: (f / "manifest.json").write_text("[]"), "holds a list"),
    (lambda f: (f / "manifest.json").unlink(), "has no manifest.json"),
    (lambda f: edit(f / "manifest.json", name="other"), "both names must agree"),
    (lambda f: edit(f / "manifest.json", grid={"shape": [1]}), "“grid"),
    (lambda f: edit(f / "manifest.json", title="\ud800"), "no text"),
    (lambda f: edit(f / "manifest.json", title=3), "“title”"),
    (lambda f: edit(f / "manifest.json", grid={"shape": [1, 1, 1], "affine": [[float("nan")]]}), "finite number"),
    (lambda f: (f / "manifest.json").write_text("[" * 100_000), "cannot be used as JSON"),
    (lambda f: (f / "manifest.json").write_bytes(b"\xff" * 9), "no text in UTF-8"),
    (lambda f: edit(f / "manifest.json", kind="control", conditions=[]), "“"),
)


@pytest.mark.parametrize("spoil, words", SPOILED)
def test_a_spoiled_pack_is_listed_with_its_reason(packs, spoil, words):
    spoil(packs / "tiny")
    tiny = findPack("tiny")
    assert tiny.state == BROKEN and words in tiny.words and not tiny.conditions


@pytest.mark.parametrize("spoil", [spoil for spoil, _words in SPOILED])
def test_without_jsonschema_a_spoiled_pack_is_known_too(packs, monkeypatch, spoil):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setitem(sys.modules, "jsonschema.exceptions", None)
    assert findPack("tiny").state == READY
    spoil(packs / "tiny")
    assert findPack("tiny").state == BROKEN and findPack("tiny").words


def test_a_folder_whose_name_is_no_unicode_is_listed_beside_the_others(packs):
    (packs / os.fsdecode(b"no-unicode-\xff")).mkdir()
    states = {pack.name: pack.state for pack in listPacks()}
    assert states["tiny"] == READY and states["no-unicode-\\udcff"] == BROKEN


def test_a_manifest_that_is_a_pipe_does_not_keep_the_panel_waiting(packs):
    (packs / "pipe").mkdir()
    os.mkfifo(packs / "pipe" / "manifest.json")
    states = {pack.name: pack.state for pack in listPacks()}
    assert states["tiny"] == READY and states["pipe"] == BROKEN


def test_a_spoiled_control_takes_only_its_conditions_along(packs):
    (packs / "tiny-both" / "control.safetensors").unlink()
    assert findPack("tiny").state == READY and findPack("tiny").conditions == ()


def test_a_control_of_another_denoiser_is_not_offered(packs):
    edit(packs / "tiny-both" / "manifest.json", backbone={"name": "tiny", "sha256": "0" * 64})
    assert findPack("tiny").conditions == ()


def test_untrained_weights_are_told(packs):
    edit(packs / "tiny" / "manifest.json", trained={"autoencoder": True, "denoiser": False})
    assert "denoiser" in findPack("tiny").words and "noise" in findPack("tiny").words


def test_a_pack_under_the_name_of_an_embedded_one_does_not_hide_it(packs):
    shutil.copytree(packs / "tiny", packs / DEFAULT_PACK)
    assert findPack(DEFAULT_PACK).state == READY and findPack(DEFAULT_PACK).grid.shape == (88, 112, 88)


def test_a_folder_that_is_not_there_holds_no_packs(tmp_path):
    assert {pack.name for pack in listPacks(tmp_path / "nothing")} == {
        DEFAULT_PACK, "meddiffusion-mini", "brainldm", "mr-brain"
    }  # fmt: skip


def control(name, *conditions, subsets=True, trained=True):
    return ControlInfo(name, name, tuple(ConditionInfo(c, Kind.MASK) for c in conditions), subsets, trained)


@pytest.mark.parametrize(
    "names, expected",
    [
        (["a"], "alone"),
        (["a", "b"], "both"),
        (["b"], "both"),
        (["c"], None),
        (["a", "c"], "pair"),
        (["a", "b", "c"], None),
        ([], "alone"),
    ],
)
def test_the_control_is_the_smallest_that_takes_the_conditions(names, expected):
    controls = (control("both", "a", "b"), control("alone", "a"), control("pair", "a", "c", subsets=False))
    chosen = PackInfo("p", "P", READY, "", controls=controls).controlFor(names)
    assert (chosen.name if chosen else None) == expected


def test_the_control_is_the_one_the_engine_would_choose(packs):
    for names in (["ventricles"], ["skull"], ["ventricles", "skull"]):
        assert findPack("tiny").controlFor(names).name == choose_packs("tiny", None, names)[1].name


def test_our_folders_are_the_engines(monkeypatch, tmp_path):
    monkeypatch.delenv("VCM_PACKS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert userFolders.packsFolder() == packs_folder()
    monkeypatch.setenv("VCM_PACKS", "~/packs")
    assert userFolders.packsFolder() == packs_folder()


def test_a_default_among_choices_is_the_nearest():
    assert defaultValue(AttributeSpec("sex", "Sex", choices={"F": 0, "M": 1}, default=1.0)) == "M"


def test_the_contrasts_of_nvidia_s_generator_are_a_choice_and_its_guidance_a_scale(tmp_path, monkeypatch):
    from maisi_files import CONFIG, write_files
    from vcm.packs.importing import import_family
    from VCMSlicerLib.panels.subjectPanel import AttributeRow

    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    files = write_files(tmp_path)
    import_family("tiny-brain", "maisi", autoencoder=files["autoencoder"], denoiser=files["denoiser"], config=CONFIG)
    contrast, guidance = findPack("tiny-brain").attributes
    assert findPack("tiny-brain").sampling == ("rflow", 30) and findPack(DEFAULT_PACK).sampling == ("unipc", 10)
    assert (defaultValue(contrast), defaultValue(guidance)) == ("T1w", pytest.approx(2.0))
    told = []
    row = AttributeRow(contrast, lambda name, setting: told.append((name, setting.value)))
    shown = [row.editor.itemText(index) for index in range(row.editor.count)]
    assert shown[:4] == ["T1w", "T2w", "FLAIR", "SWI"] and shown[10:] == ["All"]
    row.editor.setCurrentIndex(2)
    row.editor.activated.emit(2)
    assert told == [("contrast", "FLAIR")]
    scale = AttributeRow(guidance, lambda *_: None).editor
    assert (scale.minimum, scale.maximum) == (1.0, 20.0)
