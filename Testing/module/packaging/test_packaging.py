"""What the extension's index and Slicer's build read of this repository."""

import hashlib
import json
import re
import struct
import xml.etree.ElementTree as ElementTree

import packaged_files
import publication
import pytest
from packaged_files import MODULE, ROOT

CATEGORIES = {"Image Synthesis"}
# As all entries of the index have it; GitHub's addresses tell capitals from small letters.
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
ENTRY_KEYS = {
    "$schema", "build_dependencies", "build_subdirectory", "category", "dicom_support_rule", "enabled", "scm_revision",
    "scm_type", "scm_url", "tier",
}  # fmt: skip


def test_cmake_lists_every_script_and_every_resource_and_nothing_else():
    help = "python Testing/module/packaged_files.py --write"
    assert packaged_files.listed("MODULE_PYTHON_SCRIPTS") == packaged_files.scripts(), help
    assert packaged_files.listed("MODULE_PYTHON_RESOURCES") == packaged_files.resources(), help


def test_the_lists_hold_what_a_user_would_miss():
    listed = packaged_files.listed("MODULE_PYTHON_SCRIPTS") + packaged_files.listed("MODULE_PYTHON_RESOURCES")
    for needed in (
        "VCMSlicer.py",
        "VCMSlicerLib/panels/panel.py",
        "VCMSlicerLib/engine/startWorker.py",
        "vcm/worker/__main__.py",
        "vcm/packs/embedded/brainldm-mini/denoiser.safetensors",
        "vcm/packs/manifest.schema.json",
        "Resources/UI/VCMSlicer.ui",
        "Resources/Icons/VCMSlicer.png",
        "Resources/DemoCase/ventricles.nii.gz",
        "Resources/Template/head.nii.gz",
    ):
        assert needed in listed


def test_the_catalogue_entry_is_what_todays_index_takes():
    text = publication.ENTRY.read_bytes()
    entry = json.loads(text)
    assert b"\r" not in text
    assert entry["$schema"] == SCHEMA
    assert set(entry) <= ENTRY_KEYS
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert entry["category"] in CATEGORIES
    assert entry["scm_url"].startswith("https://")
    assert entry["tier"] in (1, 3, 5)
    # The index has it formatted by prettier: keys as we sorted them, two blanks, a newline at the end.
    assert text.decode() == json.dumps(entry, indent=2) + "\n"


def test_the_extension_is_named_as_its_entry_and_says_what_it_is_for():
    cmake = (ROOT / "CMakeLists.txt").read_text("utf-8")
    assert re.search(r"project\((\w+)\)", cmake)[1] == publication.EXTENSION == publication.ENTRY.stem
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert re.search(rf'set\(EXTENSION_{name} "[^"]+"\)', cmake), name
    assert re.search(r'EXTENSION_ICONURL "https://\S+\.png"', cmake)
    for url in re.search(r'EXTENSION_SCREENSHOTURLS "([^"]+)"', cmake)[1].split():
        assert url.startswith("https://") and (ROOT / url.split("/main/")[1]).is_file(), url
    assert re.search(r'EXTENSION_ICONURL "([^"]+)"', cmake)[1] in (ROOT / "VCMSlicer.s4ext").read_text("utf-8")
    dependencies = json.loads(publication.ENTRY.read_text("utf-8"))["build_dependencies"]
    assert (re.search(r'EXTENSION_DEPENDS "([^"]+)"', cmake)[1] == "NA") == (not dependencies)


def test_one_repository_stands_in_all_three_files_under_a_name_that_the_index_takes():
    account, name = publication.FORM.fullmatch(publication.repository()).groups()
    assert publication.named() == {f"{account}/{name}"}
    for path in publication.FILES:
        assert publication.ADDRESS.search(path.read_text("utf-8")), path
    raw = f"https://raw.githubusercontent.com/{account}/{name}/{publication.branch()}/"
    for path in publication.FILES[:2]:
        text = path.read_text("utf-8")
        assert len(re.findall(re.escape(raw), text)) == text.count("raw.githubusercontent.com") == 3, path
    assert f"scmrevision {publication.branch()}" in (ROOT / "VCMSlicer.s4ext").read_text("utf-8")


def test_the_address_is_set_in_one_go_and_nothing_else_changes(tmp_path, monkeypatch):
    address = publication.repository()
    before = {path.name: path.read_text("utf-8") for path in publication.FILES}
    for name, text in before.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(publication, "FILES", tuple(tmp_path / path.name for path in publication.FILES))
    monkeypatch.setattr(publication, "ENTRY", tmp_path / publication.ENTRY.name)
    for refused in ("https://github.com/someone/VCMSlicer", "https://github.com/someone/SlicerHeads"):
        with pytest.raises(SystemExit, match="not of the form"):
            publication.publishAt(refused)
    publication.publishAt("https://github.com/someone/SlicerBrainMRISynthesis")
    assert publication.named() == {"someone/SlicerBrainMRISynthesis"}
    publication.publishAt(address)
    assert {path.name: path.read_text("utf-8") for path in publication.FILES} == before


def test_the_icon_is_a_square_of_128_pixels_and_the_same_in_both_places():
    content = (MODULE / "Resources" / "Icons" / "VCMSlicer.png").read_bytes()
    assert content == (ROOT / "Resources" / "Icons" / "VCMSlicer.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">2I", content[16:24]) == (128, 128)


def test_the_demo_case_is_registered_with_the_hash_it_has():
    written = re.search(
        r'DEMO_MASK_SHA256 = "(\w+)"', (MODULE / "VCMSlicerLib" / "scene" / "sampleData.py").read_text("utf-8")
    )[1]
    demo = MODULE / "Resources" / "DemoCase" / "ventricles.nii.gz"
    assert written == hashlib.sha256(demo.read_bytes()).hexdigest()


@pytest.mark.parametrize("path", sorted((MODULE / "Resources" / "UI").glob("*.ui")), ids=lambda path: path.name)
def test_every_control_has_a_tooltip(path):
    interactive = re.compile("Button|Box|Slider|Table|ProgressBar")
    silent = [
        widget.get("name")
        for widget in ElementTree.parse(path).iter("widget")
        if interactive.search(widget.get("class"))
        and widget.get("class") != "ctkCollapsibleButton"
        and widget.find("property[@name='toolTip']") is None
    ]
    assert silent == []


def test_module_and_panels_never_import_the_heavy_packages():
    heavy = re.compile(r"^\s*(?:import|from)\s+(torch|monai|scipy|einops|safetensors|SimpleITK)\b", re.MULTILINE)
    for path in [MODULE / "VCMSlicer.py", *(MODULE / "VCMSlicerLib").rglob("*.py")]:
        if path.name == "startWorker.py":
            continue
        assert heavy.findall(path.read_text("utf-8")) == [], path
