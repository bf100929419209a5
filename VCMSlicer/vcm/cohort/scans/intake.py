"""Makes ready what all scans of a run have in common: the backbone's Grid and scales, the template, the labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.cohort.scans.case import Intake
from vcm.cohort.scans.label_reading import LabelReading
from vcm.conditions.condition import ClassSpec
from vcm.judging.reference_head import has_typical_head, template_of
from vcm.models.loading import scales_whole_scans

if TYPE_CHECKING:
    from vcm.packs.store import Pack


def prepare_intake(pack: Pack, registration: str, labels: str, template: Path | None = None) -> Intake:
    """How scans are brought onto the Grid of a backbone pack."""
    known = template is not None or has_typical_head(pack)
    return Intake(
        grid=pack.backbone.grid,
        contrast=pack.backbone.contrast,
        classes=tuple(ClassSpec(value, title) for value, (title, _) in SEGMENTER_CLASSES.items()),
        attributes=tuple(pack.backbone.attributes),
        template=template_of(pack, template) if known or registration != "none" else None,
        registration=registration,
        reading=LabelReading.named(labels),
        whole_scans=scales_whole_scans(pack.backbone),
    )
