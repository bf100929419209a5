"""What the module offers in Slicer's Sample Data: the demo's mask, and the demo case with all that was made of it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from vcm.core.typed_json import read_fields
from vcm.protocol import AlignmentSummary, ConditionInput, Generate, Generated, GeneratedSample, GivenCondition, Label

from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.startPoints import DEMO_MASK, RESOURCES, demoCase
from VCMSlicerLib.results.results import Results
from VCMSlicerLib.scene.sliceViews import showInSlices

CATEGORY = "VCMSlicer"
DEMO_MASK_SHA256 = "52383937de7c73e10354ed21c45427086d1bd586a87348a4fb4a0776303df6ad"
DEMO_RESULT = RESOURCES / "DemoResult"
THUMBNAIL = RESOURCES / "Icons" / "VCMSlicer.png"


def register() -> None:
    """Offer both samples; their files come with the module."""
    import SampleData

    offer = SampleData.SampleDataLogic.registerCustomSampleDataSource
    offer(
        category=CATEGORY,
        sampleName="EnlargedVentricles",
        uris=DEMO_MASK.as_uri(),
        fileNames="VCMSlicer-ventricles.nii.gz",
        nodeNames="Enlarged ventricles (synthetic)",
        thumbnailFileName=str(THUMBNAIL),
        loadFileTypes="SegmentationFile",
        checksums=f"SHA256:{DEMO_MASK_SHA256}",
    )
    offer(
        category=CATEGORY,
        sampleName="SyntheticHeadWithScores",
        uris=(DEMO_RESULT / "sample-0.nii.gz").as_uri(),
        fileNames="VCMSlicer-synthetic-head.nii.gz",
        nodeNames="Synthetic head of the demo case",
        thumbnailFileName=str(THUMBNAIL),
        loadFileTypes="VolumeFile",
        customDownloader=finishedDemo,
    )


def finishedDemo(_source: Any = None) -> list[Any]:
    """Put the finished demo case into the scene: what was painted, the image that followed it, and how well."""
    report = json.loads((DEMO_RESULT / "report.json").read_text("utf-8"))
    point = demoCase(whole=True)
    run, request = _asAnswered(report)
    choices = [ConditionChoice(entry["name"], segmentationNode=point.segmentation) for entry in report["conditions"]]
    nodes = Results().add(run, request, choices)
    showInSlices(background=nodes[0], foreground=None, label=None)
    return nodes


def _asAnswered(report: dict[str, Any]) -> tuple[Generated, Generate]:
    """The report as the worker's answer, and the request that it answers."""
    id, folder = f"demo-{uuid.uuid4().hex[:8]}", DEMO_RESULT
    labels = tuple(Label(entry["value"], entry["name"]) for entry in report["segmenter_labels"])
    samples = tuple(_sample(entry, labels) for entry in report["samples"])
    given = tuple(
        GivenCondition(
            entry["name"],
            str(folder / entry["file"]),
            tuple(Label(each["value"], each["name"], tuple(each["segmenter"])) for each in entry["classes"]),
        )
        for entry in report["conditions"]
    )
    request = Generate(
        id,
        str(folder),
        tuple(ConditionInput(entry["name"], str(folder / entry["file"])) for entry in report["conditions"]),
        pack=report["packs"]["backbone"]["name"],
        control=report["packs"]["control"]["name"],
        attributes={entry["name"]: entry["value"] for entry in report["attributes"] if entry["origin"] == "given"},
        seed=report["sampling"]["seed"],
        sampler=report["sampling"]["sampler"],
        steps=report["sampling"]["steps"],
        uncontrolled=True,
    )
    return Generated(id, str(folder), samples, str(folder / "report.json"), conditions=given), request


def _sample(entry: dict[str, Any], labels: tuple[Label, ...]) -> GeneratedSample:
    twin = entry["uncontrolled"]
    return GeneratedSample(
        str(_file(entry["file"])),
        entry["seed"],
        read_fields(AlignmentSummary, entry["alignment"]),
        str(_file(twin["file"])),
        read_fields(AlignmentSummary, twin["alignment"]),
        str(_file(entry["segmentation"])),
        labels,
    )


def _file(name: str) -> Path:
    return DEMO_RESULT / name
