"""What the module offers in Slicer's Sample Data: the demo's mask, and the demo case with all that was made of it."""

from __future__ import annotations

import json
import uuid
from typing import Any

from vcm.protocol import ConditionInput, Generate
from vcm.worker.translation import generated

from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.startPoints import DEMO_MASK, RESOURCES, demoCase
from VCMSlicerLib.results.results import Results
from VCMSlicerLib.scene.sliceViews import showInSlices

CATEGORY = "VCMSlicer"
DEMO_MASK_SHA256 = "36baf2a8897e2ff130f96d8d2d97a20b0b151f216798e2f61d0ad95e77249474"
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
        nodeNames="Synthetic head of the demo case (image only)",
        thumbnailFileName=str(THUMBNAIL),
        loadFileTypes="VolumeFile",
        customDownloader=finishedDemo,
    )


def finishedDemo(_source: Any = None) -> list[Any]:
    """Put the finished demo case into the scene: what was painted, the image that followed it, and how well."""
    report = json.loads((DEMO_RESULT / "report.json").read_text("utf-8"))
    point = demoCase(whole=True)
    request = _request(report)
    choices = [ConditionChoice(entry["name"], segmentationNode=point.segmentation) for entry in report["conditions"]]
    nodes = Results().add(generated(request, report), request, choices)
    showInSlices(background=nodes[0], foreground=None, label=None)
    return nodes


def _request(report: dict[str, Any]) -> Generate:
    """What the report answers."""
    sampling = report["sampling"]
    return Generate(
        f"demo-{uuid.uuid4().hex[:8]}",
        str(DEMO_RESULT),
        tuple(ConditionInput(entry["name"], str(DEMO_RESULT / entry["file"])) for entry in report["conditions"]),
        pack=report["packs"]["backbone"]["name"],
        control=report["packs"]["control"]["name"],
        attributes={entry["name"]: entry["value"] for entry in report["attributes"] if entry["origin"] == "given"},
        seed=sampling["seed"],
        sampler=sampling["sampler"],
        steps=sampling["steps"],
        uncontrolled=True,
    )
