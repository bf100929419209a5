"""Real scans become cases: where they lie, what they hold, and what is refused."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from command_line import vcm
from faults import told, without_its_end
from monai.transforms import ScaleIntensityRangePercentiles
from phantoms import grid_in, nifti_bytes, rotation, tilted
from PIL import Image
from scan_phantom import GRID, classes_of, image_on, intake, labels_on, template
from small_cohort import write_cohort
from vcm.cohort.files import read_cases
from vcm.cohort.making.contrasts import TISSUES, spin_echo_signal
from vcm.cohort.scans import sheet as scan_sheet
from vcm.cohort.scans.case import take_in
from vcm.cohort.scans.checks import BRIGHTER
from vcm.cohort.scans.folder import summary, take_in_folder
from vcm.cohort.scans.image import normalised
from vcm.cohort.scans.label_reading import LabelReading
from vcm.cohort.scans.pairs import Scan, Scans, find_scans, pair_by_name
from vcm.cohort.scans.registration import register
from vcm.cohort.scans.sheet import write_sheets
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.errors import VcmError
from vcm.core.findings import Level
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.registration.pose import Pose
from vcm.reporting.case_sheet import case_sheet
from vcm.volumes.volume_files import write_volume

LAS = grid_in("LAS", (62, 74, 60), (3.0, 3.0, 3.0), (0, 0, 0))
CORNERS = np.array(np.meshgrid([-60, 60], [-80, 70], [-50, 60])).reshape(3, -1).T


def moved_by(degrees, shift):
    turn = rotation(degrees)
    turn[:3, 3] = shift
    return turn


def scan_files(folder, image, labels, ending=".nii.gz", name="one", **more):
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}_T1w{ending}", folder / f"{name}_seg{ending}"
    for path, volume in zip(paths, (image, labels), strict=True):
        write_volume(path, volume)
    return Scan(name, *paths, **more)


def codes(taken, level=None):
    return {finding.code for finding in taken.findings if level in {None, finding.level}}


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(("degrees", "shift"), [(12, (10, -14, 8)), (65, (70, -40, 30))])
def test_the_pose_of_a_moved_head_is_found(degrees, shift):
    moved = moved_by(degrees, shift)
    where = Grid(LAS.shape, moved @ LAS.affine)
    image = image_on(where, moved)
    labels = Volume(classes_of(labels_on(where, moved).array), where)
    pose = register(image, labels, template(), "rigid")
    again = pose.applied(Volume(image.array, Grid(LAS.shape, moved @ np.eye(4)))).grid.affine
    error = np.linalg.norm(CORNERS @ again[:3, :3].T + again[:3, 3] - CORNERS, axis=1)
    assert error.max() < 1.5
    assert pose.degrees == pytest.approx(degrees, abs=1)
    assert np.linalg.det(pose.matrix[:3, :3]) == pytest.approx(1)


def test_an_affine_finds_a_head_of_another_size():
    stretch = np.diag([1.1, 0.94, 1.06, 1.0])
    image, labels = image_on(LAS, stretch), labels_on(LAS, stretch)
    pose = register(image, Volume(classes_of(labels.array), LAS), template(), "affine")
    again = pose.matrix @ stretch
    assert np.linalg.norm(CORNERS @ again[:3, :3].T + again[:3, 3] - CORNERS, axis=1).max() < 4
    assert np.linalg.det(pose.matrix[:3, :3]) > 0


@pytest.mark.parametrize(
    ("grid", "ending"),
    [
        (grid_in("RAS", (62, 74, 60), (3.0, 3.0, 3.0), (0, 0, 0)), ".nii.gz"),
        (grid_in("LPS", (62, 74, 60), (3.0, 3.0, 3.0), (0, 0, 0)), ".nrrd"),
        (grid_in("SPL", (44, 100, 84), (4.2, 2.2, 2.2), (0, 0, 0)), ".nii"),
        (tilted(grid_in("PIR", (90, 44, 64), (2.5, 4.0, 3.0), (0, 0, 0)), 20), ".nrrd"),
    ],
    ids=["RAS NIfTI", "LPS NRRD", "anisotropic", "oblique"],
)
def test_left_stays_left_from_any_orientation_and_spacing(tmp_path, grid, ending):
    taken = take_in(scan_files(tmp_path, image_on(grid), labels_on(grid), ending), intake())
    assert taken.parts, codes(taken, Level.ERROR)
    expected, found = classes_of(labels_on(GRID).array), taken.parts["labels"].array
    left = GRID.to_world(np.stack(np.indices(GRID.shape), axis=-1))[..., 0] < 0
    for side in (left, ~left):
        assert dice((expected == 4) & side, (found == 4) & side) > 0.8
    # The left ventricle is twice as large as the right one: mirrored, this would fail.
    assert ((found == 4) & left).sum() > 1.5 * ((found == 4) & ~left).sum()
    assert taken.overlap > 0.95


def test_a_case_holds_what_a_made_one_does(tmp_path):
    scan = scan_files(tmp_path, image_on(LAS), labels_on(LAS), given={"sex": "m", "age": "63"})
    taken = take_in(scan, intake())
    image, labels, skull = (taken.parts[name] for name in ("image", "labels", "skull"))
    for volume in (image, labels, skull):
        assert volume.grid.same_as(GRID)
    assert image.array.dtype == np.float32 and image.array.min() == 0 and image.array.max() == 1
    assert np.percentile(image.array, 99.5) == pytest.approx(1, abs=0.01)
    assert not skull.array[labels.array > 0].any()
    outside = classes_of(labels_on(GRID).array) == 0
    assert (skull.array[outside] > 0.3).sum() > 0.4 * (image_on(GRID).array[outside] > 0).sum()
    assert np.array_equal(skull.array[skull.array > 0], image.array[skull.array > 0])
    numbers = labels_on(LAS).array
    assert taken.ventricles_ml == pytest.approx(np.isin(numbers, (4, 43)).sum() * 0.027, rel=1e-6)
    assert taken.attributes["sex"] == 1 and taken.attributes["age"] == 0.5
    assert taken.attributes["ventricular_volume"] == pytest.approx((taken.ventricles_ml - 5) / 80)


def test_a_whole_scan_is_scaled_as_monai_scales_it():
    """NVIDIA's preprocessing of MR, on a volume with values below 0, of which the grid holds but a part."""
    grid = tilted(grid_in("RAS", (17, 23, 29), (3.0, 2.0, 2.5), (1.0, 2.0, 3.0)))
    array = np.random.default_rng(4).gamma(2.0, 90.0, grid.shape).astype(np.float32) - 40
    expected = ScaleIntensityRangePercentiles(lower=0, upper=99.5, b_min=0, b_max=1, clip=False)(array[None])[0]
    notes = Notebook("image", "scan.nii.gz")
    whole = normalised(Volume(array, grid), grid, notes, whole_scan=True)
    assert np.allclose(whole.array, expected, atol=1e-5) and whole.array.max() > 1.2 and whole.array.min() == 0
    part = Grid((9, 11, 13), grid.affine)
    assert np.allclose(normalised(Volume(array, grid), part, notes, True).array, expected[:9, :11, :13], atol=1e-5)
    (said, _) = (finding.sentence for finding in notes.findings if finding.code == "RESCALED")
    assert f"so that {array.min():g} became 0" in said and "percentile of the whole scan, 1" in said


def test_what_is_not_known_of_a_patient_is_said(tmp_path):
    taken = take_in(scan_files(tmp_path, image_on(LAS), labels_on(LAS), given={"age": "91"}), intake("none"))
    assert taken.attributes["sex"] == 0 and taken.attributes["age"] == 1
    assert {"ATTRIBUTE_UNKNOWN", "ATTRIBUTE_BEYOND"} <= codes(taken)
    wrong = take_in(
        scan_files(tmp_path, image_on(LAS), labels_on(LAS), given={"sex": "x", "age": "old"}), intake("none")
    )
    assert [finding.code for finding in wrong.findings if finding.level is Level.ERROR] == ["ATTRIBUTE_WRONG"] * 2


def test_a_brain_alone_has_no_skull_image(tmp_path):
    taken = take_in(scan_files(tmp_path, image_on(LAS, brain_only=True), labels_on(LAS)), intake())
    assert set(taken.parts) == {"image", "labels"} and "BRAIN_ONLY" in codes(taken, Level.WARNING)
    assert taken.overlap > 0.9


def mirrored(volume):
    return Volume(np.ascontiguousarray(volume.array[::-1]), volume.grid)


def refusals():
    image, labels = image_on(LAS), labels_on(LAS)
    empty = Volume(np.zeros_like(labels.array), LAS)
    far = Volume(labels.array, Grid(LAS.shape, moved_by(0, (60, 0, 0)) @ LAS.affine))
    t2 = Volume(np.where(image.array > 0, 600 - image.array, 0).astype(np.float32), LAS)
    segmenter = Volume(classes_of(labels.array), LAS)
    cropped = Volume(np.ascontiguousarray(labels.array[24:, :60]), Grid((38, 60, 60), LAS.affine))
    return {
        "left and right exchanged in both files": (mirrored(image), mirrored(labels), "MIRRORED"),
        "an empty segmentation": (image, empty, "EMPTY"),
        "a segmentation elsewhere": (image, far, "ELSEWHERE"),
        "a segmentation of another shape": (image, cropped, "ELSEWHERE"),
        "another contrast": (t2, labels, "OTHER_CONTRAST"),
        "numbers of the segmenter": (image, segmenter, "ONE_SIDE"),
        "fractions": (image, Volume(labels.array + np.float32(0.3), LAS), "NOT_LABELS"),
        "unknown numbers": (image, Volume(np.where(labels.array, labels.array + 7000, 0), LAS), "NO_KNOWN_LABEL"),
        "one intensity": (Volume(np.full(LAS.shape, 9, np.float32), LAS), labels, "OTHER_CONTRAST"),
    }


def inverted():
    """The phantom's head as T2w shows it: fluid brightest, white matter darkest."""
    image = image_on(LAS)
    return Volume(np.where(image.array > 0, 600 - image.array, 0).astype(np.float32), LAS)


@pytest.mark.parametrize(
    ("contrast", "image", "fits"),
    [
        *(("T1w", image_on, True), ("T2w", image_on, False), ("FLAIR", image_on, True), ("", image_on, True)),
        *(("T1w", inverted, False), ("T2w", inverted, True), ("FLAIR", inverted, False), ("PDw", inverted, True)),
    ],
)
def test_a_scan_is_held_against_the_contrast_of_the_backbone(tmp_path, contrast, image, fits):
    image = image(LAS) if image is image_on else image()
    taken = take_in(scan_files(tmp_path, image, labels_on(LAS)), replace(intake("none"), contrast=contrast))
    found = [finding for finding in taken.findings if finding.code == "OTHER_CONTRAST"]
    assert bool(found) != fits
    assert all(f"as it is in a {contrast} scan" in one.sentence and contrast in one.remedy for one in found)


@pytest.mark.parametrize(("contrast", "sequence"), [("T2w", "t2"), ("FLAIR", "flair")])
def test_which_tissue_is_brighter_is_what_the_published_relaxation_times_say(contrast, sequence):
    known = json.loads(TISSUES.read_text())
    times = {key: known["sequences"][sequence][key] for key in ("tr_ms", "te_ms", "ti_ms")}

    def signal(label):
        tissue = known["tissues"][next(t for t, labels in known["labels"].items() if label in labels)]
        return spin_echo_signal(tissue["t1_ms"], tissue["t2_ms"], tissue["density"], **times)

    shown = {"white matter": signal(2), "grey matter": signal(3), "fluid": signal(4)}
    assert all(shown[brighter] > 1.05 * shown[darker] for brighter, darker in BRIGHTER[contrast])


def test_the_attributes_are_those_of_the_backbone_and_come_from_the_table_or_the_labels(tmp_path):
    specs = (
        AttributeSpec("field_strength", "Field strength", "T", low=1, high=5),
        AttributeSpec("sex", "Sex", choices={"M": 0.0, "F": 1.0}),
        AttributeSpec("stem", "Brain stem", "ml", low=0, high=100, structures=(8,)),
        AttributeSpec("dose", "Dose", default=0.3),
    )
    scan = scan_files(tmp_path, image_on(LAS), labels_on(LAS), given={"field_strength": "3", "sex": "female"})
    taken = take_in(scan, replace(intake("none"), attributes=specs))
    stem = float((labels_on(LAS).array == 16).sum() * LAS.voxel_ml)
    assert taken.attributes == {"field_strength": 0.5, "sex": 1.0, "stem": pytest.approx(stem / 100), "dose": 0.3}
    assert 10 < stem < 90
    said = " ".join(one.sentence for one in taken.findings if one.code == "ATTRIBUTE_UNKNOWN")
    assert "dose" in said and "field_strength" not in said


@pytest.mark.parametrize("how", refusals())
def test_a_scan_is_refused_in_a_sentence(tmp_path, how):
    image, labels, code = refusals()[how]
    taken = take_in(scan_files(tmp_path, image, labels), intake())
    assert code in codes(taken, Level.ERROR), taken.findings
    assert not taken.parts


def test_a_head_that_did_not_find_its_place_is_refused(tmp_path):
    moved = moved_by(0, (0, 45, 0))
    grid = Grid(LAS.shape, moved @ LAS.affine)
    taken = take_in(scan_files(tmp_path, image_on(grid, moved), labels_on(grid, moved)), intake("none"))
    assert codes(taken, Level.ERROR) == {"NOT_REGISTERED"}


def test_files_that_are_no_scans_are_refused_by_what_they_are(tmp_path):
    whole = scan_files(tmp_path, image_on(LAS), labels_on(LAS))
    for name, array, datatype, words in (
        ("four", np.zeros((8, 9, 10, 3), np.float32), None, "4 dimensions"),
        ("colour", np.zeros((8, 9, 10), "V3"), 128, "colour"),
    ):
        path = tmp_path / f"{name}.nii"
        path.write_bytes(nifti_bytes(array, sform=np.eye(4), datatype=datatype))
        (finding,) = take_in(Scan(name, path, whole.segmentation), intake()).findings
        assert finding.level is Level.ERROR and words in finding.sentence, finding
    without_its_end(whole.image)
    assert "damaged" in take_in(whole, intake()).findings[0].sentence
    missing = Scan("gone", tmp_path / "gone.nii", whole.segmentation)
    assert codes(take_in(missing, intake()), Level.ERROR) == {"FILE_MISSING"}


@pytest.fixture
def folder(tmp_path):
    """Two scans, one of which is refused, one without a segmentation, and a segmentation of nothing."""
    scan_files(tmp_path / "in", image_on(LAS), labels_on(LAS), name="good")
    scan_files(tmp_path / "in", image_on(LAS), Volume(np.zeros(LAS.shape, np.uint8), LAS), name="blank")
    for kind in ("T1w", "seg"):
        (tmp_path / kind).mkdir()
        for path in (tmp_path / "in").glob(f"*_{kind}.nii.gz"):
            path.rename(tmp_path / kind / path.name)
    (tmp_path / "T1w/alone_T1w.nii.gz").write_bytes(b"")
    (tmp_path / "seg/nobody_seg.nii.gz").write_bytes(b"")
    return tmp_path


def run(folder, jobs=1):
    scans = find_scans(folder / "T1w", folder / "seg")
    return list(take_in_folder(scans, intake("none"), folder / "cohort", jobs))


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_every_scan_stands_in_one_table_or_the_other(folder):
    arrivals = run(folder)
    out = folder / "cohort"
    (case,) = read_cases(out)
    assert (case.name, case.head, case.seed) == ("good", "good_T1w.nii.gz", None)
    assert case.read("image").grid.same_as(GRID)
    refused = (out / "refused.csv").read_text()
    assert refused.count("UNPAIRED") == 2 and "EMPTY" in refused and "good" not in refused
    assert json.loads((out / "findings/blank.json").read_text())["usable"] is False
    record = json.loads((out / "findings/good.json").read_text())
    assert record["usable"] and record["brain_overlap"] > 0.95 and record["findings"]
    assert summary(arrivals)[0] == "1 of 4 scans are cases now; 3 were refused"
    assert b"synthetic" not in (out / "cases/good/image.nii.gz").read_bytes()


def test_tables_and_records_name_files_as_they_were_given(folder):
    """A table is sent to others more readily than a scan: no folder of the user's stands in it."""
    (folder / "seg" / "deep").mkdir()
    (folder / "seg/nobody_seg.nii.gz").rename(folder / "seg/deep/nobody_seg.nii.gz")
    (folder / "T1w/blank_T1w.nii.gz").write_bytes(b"no image")
    run(folder)
    out = folder / "cohort"
    for path in (out / "refused.csv", out / "cases.csv", *(out / "findings").glob("*.json")):
        assert str(folder) not in path.read_text() and folder.name not in path.read_text(), path
    refused = (out / "refused.csv").read_text()
    assert "deep/nobody_seg.nii.gz" in refused and "blank_T1w.nii.gz is named like a NIfTI image" in refused


def test_a_scan_that_is_named_like_a_formula_is_text_in_every_table(folder):
    for kind in ("T1w", "seg"):
        (folder / kind / f"good_{kind}.nii.gz").rename(folder / kind / f"=cmd|calc_{kind}.nii.gz")
        (folder / kind / f"blank_{kind}.nii.gz").rename(folder / kind / f"@sum_{kind}.nii.gz")
    run(folder)
    for name in ("cases.csv", "refused.csv"):
        with (folder / "cohort" / name).open(newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert any("=cmd|calc" in cell or "@sum" in cell for cell in cells)
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")]
    (case,) = read_cases(folder / "cohort")
    assert case.head == "=cmd|calc_T1w.nii.gz"


def test_a_folder_that_holds_no_case_yet_may_be_begun_with_other_options(folder):
    for path in (folder / "seg").glob("*.nii.gz"):
        path.unlink()
        write_volume(path, Volume(np.zeros(LAS.shape, np.uint8), LAS))
    assert not [arrival for arrival in run(folder) if arrival.entry]
    scans = find_scans(folder / "T1w", folder / "seg")
    assert not [arrival for arrival in take_in_folder(scans, intake("rigid"), folder / "cohort") if arrival.entry]


def test_sheets_show_every_case_the_worst_overlap_first(folder, monkeypatch):
    run(folder)
    (entry,) = read_cases(folder / "cohort")
    drawn = []
    monkeypatch.setattr(scan_sheet, "case_sheet", lambda rows, **words: drawn.append(rows) or case_sheet(rows, **words))
    others = [replace(entry, folder=entry.folder.with_name(f"c{n}")) for n in range(24)]
    for other in others:
        other.folder.symlink_to(entry.folder, target_is_directory=True)
    (folder / "cohort" / "sheet-9.png").write_text("the user's own")
    assert len(write_sheets([entry, *others], {}, folder / "cohort")) == 3
    drawn.clear()
    others = others[:13]
    paths = write_sheets([entry, *others], {"c7": 0.71, "good": 0.98, "c3": 0.9}, folder / "cohort")
    assert [path.name for path in paths] == ["sheet-1.png", "sheet-2.png"]
    left = sorted(path.name for path in (folder / "cohort").glob("sheet-*"))
    assert left == ["sheet-1.png", "sheet-2.png", "sheet-9.png"]
    assert (folder / "cohort" / "sheet-9.png").read_text() == "the user's own"
    captions = [row.caption for rows in drawn for row in rows]
    assert captions[:3] == [f"{name}: overlap with the template {dice}" for name, dice in
                            (("c7", "0.71"), ("c3", "0.90"), ("good", "0.98"))]  # fmt: skip
    assert len(captions) == 14
    with Image.open(paths[0]) as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert "synthetic" not in picture.text["Description"].lower()
    assert len(np.unique(colours[np.ptp(colours, axis=1) > 60], axis=0)) > 10  # contours are not grey


def replace_volume(path, volume):
    """As the user does it."""
    path.unlink()
    write_volume(path, volume)


def test_a_folder_is_continued_without_bringing_in_its_scans_again(folder):
    run(folder)
    out = folder / "cohort"
    before, stamp = files(out), (out / "cases/good/image.nii.gz").stat().st_mtime_ns
    run(folder)
    assert files(out) == before
    assert (out / "cases/good/image.nii.gz").stat().st_mtime_ns == stamp
    replace_volume(folder / "seg/blank_seg.nii.gz", labels_on(LAS))
    run(folder)
    assert [case.name for case in read_cases(out)] == ["blank", "good"]
    assert "blank" not in (out / "refused.csv").read_text()
    replace_volume(folder / "seg/good_seg.nii.gz", Volume(np.zeros(LAS.shape, np.uint8), LAS))
    run(folder)
    assert [case.name for case in read_cases(out)] == ["blank"]


def test_several_processes_bring_in_the_same_files(folder):
    run(folder)
    one = files(folder / "cohort")
    (folder / "cohort").rename(folder / "first")
    run(folder, jobs=2)
    assert files(folder / "cohort") == one


def test_scans_that_were_brought_in_otherwise_are_not_mixed(folder):
    run(folder)
    scans = find_scans(folder / "T1w", folder / "seg")
    with pytest.raises(VcmError, match="registration differ"):
        list(take_in_folder(scans, intake("rigid"), folder / "cohort"))


def test_the_command_ends_with_1_where_a_scan_was_refused(tmp_path, with_tiny_packs):
    (case,) = write_cohort(tmp_path / "made", 1)
    for kind, part in (("scans", "image"), ("segs", "labels")):
        write_volume(tmp_path / kind / "one.nii.gz", case.read(part))
    arguments = ["cohort", "from-folder", tmp_path / "scans", "--segmentations", tmp_path / "segs", "--pack", "tiny"]
    arguments += ["--registration", "none", "--labels", "segmenter", "--out", tmp_path / "out"]
    ended = vcm(*arguments)
    assert ended.code == 0 and "1 of 1 scans are cases now" in ended.out, ended
    (tmp_path / "scans/two.nii.gz").write_bytes(b"no image")
    write_volume(tmp_path / "segs/two.nii.gz", case.read("labels"))
    ended = vcm(*arguments)
    assert ended.code == 1 and "two.nii.gz is named like a NIfTI image but does not hold one" in ended.err, ended
    assert "1 were refused" in ended.out and "refused.csv says why" in ended.out
    assert vcm(*arguments[:-4], "--registration", "elastic", *arguments[-2:]).code == 2
    told(vcm("cohort", "make", "--labelmaps", tmp_path, "--out", tmp_path / "out"), "labels.json")


def test_a_made_cohort_takes_in_no_scans(folder):
    write_cohort(folder / "cohort", 1)
    with pytest.raises(VcmError, match="holds made heads"):
        run(folder)


def test_names_are_paired_whatever_they_say_about_the_kind_of_file(tmp_path):
    fs = "sub-04/mri"  # as FreeSurfer lays them out
    for path in (
        "a/sub-01/anat/sub-01_T1w.nii.gz", "a/Smith.nrrd", "a/x/T1.nii", "a/two_T1w.nii", "a/two.mgz", f"a/{fs}/T1.mgz",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    segmented = ("b/sub-01_dseg.nii.gz", "b/Smith-aparc+aseg.nii", "b/x/aseg.nii", "b/two_seg.nii")
    for path in (*segmented, f"b/{fs}/aparc+aseg.mgz"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = pair_by_name(tmp_path / "a", tmp_path / "b")
    assert [scan.name for scan in found.pairs] == ["Smith", "sub-01", "sub-04", "x"]
    assert {refusal.name for refusal in found.refusals} == {"two"} and len(found.refusals) == 2


def test_a_table_pairs_what_names_do_not(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("﻿Image;Segmentation;Sex;Age\na.nii;b.nii;F;70\nx/a.nii;c.nii;;\n;d.nii;;\n", encoding="utf-8")
    found = find_scans(table, None)
    assert found.pairs[0] == Scan("a", tmp_path / "a.nii", tmp_path / "b.nii", {"sex": "F", "age": "70"})
    assert [scan.name for scan in found.pairs] == ["a", "a-2"]
    assert "Row 4" in found.refusals[0].sentence and "image" in found.refusals[0].sentence
    table.write_text("image,age\na.nii,7\n")
    with pytest.raises(VcmError, match="no column segmentation; it has image, age"):
        find_scans(table, None)
    with pytest.raises(VcmError, match="segmentations of the scans"):
        find_scans(tmp_path, None)


def test_labels_are_read_by_a_table(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("label,class,side\n101,white matter,left\n102,4,\n103,background,\n")
    reading = LabelReading.named(str(table))
    assert reading.classes == {101: 1, 102: 4, 103: 0} and reading.left == {101}
    table.write_text("label,class\n101,brain\n")
    with pytest.raises(VcmError, match="no table of labels"):
        LabelReading.named(str(table))
    table.write_text("label,class\n101,12\n")
    with pytest.raises(VcmError, match="classes that there are not"):
        LabelReading.named(str(table))
    with pytest.raises(VcmError, match="no table of labels"):
        LabelReading.named("freesurfr")


def test_parcels_of_freesurfer_are_told_by_their_lobe_of_numbers():
    classes = LabelReading.named("freesurfer").classes
    assert [classes[n] for n in (1035, 2007, 12130, 3010, 251, 77, 43, 63)] == [2, 2, 2, 1, 1, 1, 4, 4]
    assert 502 not in classes


def test_a_pose_that_does_nothing_is_no_turn():
    pose = Pose(np.eye(4))
    assert pose.degrees == pytest.approx(0, abs=1e-6) and pose.scales == (1, 1) and not Scans(()).refusals
