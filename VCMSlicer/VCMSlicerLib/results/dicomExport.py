"""Writing a result as a DICOM series that says in every file, where machines and people look, that it is synthetic."""

from __future__ import annotations

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vcm
from slicer.i18n import tr as _

from VCMSlicerLib.results.results import BODY_PART, CONTRAST, RUN, SEED, sidecarOf
from VCMSlicerLib.scene.worldImages import ownMatrix

FULL_SCALE = 4095
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def warning() -> str:
    """What is shown before any export to DICOM."""
    return _(
        "These images are synthetic: no person was scanned. Every file will carry the DICOM tag Synthetic Data "
        "(0008,001C) with the value YES, the patient's name SYNTHETIC and a description that says so. Viewers and "
        "archives may ignore these. Do not send the series to a clinical archive."
    )


def exportDicom(node: Any, folder: str | Path) -> list[Path]:
    """Write one file a slice into the new folder `folder`; refuses a folder that has files in it."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise OSError(_("The folder {folder} is not empty. Choose a new one.").format(folder=folder))
    folder.mkdir(parents=True, exist_ok=True)
    array = slicer.util.arrayFromVolume(node)
    low, high = float(array.min()), float(array.max())
    slope = (high - low) / FULL_SCALE or 1.0
    stored = np.round((array - low) / slope).astype(np.uint16)
    common, geometry = _common(node), _Geometry(node)
    files = []
    for index, plane in enumerate(stored):
        dataset = _slice(common, geometry, index, plane)
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = f"{slope:.10g}", f"{low:.10g}", "US"
        path = folder / f"slice-{index + 1:03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


class _Geometry:
    """Directions and positions of a volume's slices in DICOM's LPS millimetres."""

    def __init__(self, node: Any) -> None:
        # Without the transforms above it, as in a NIfTI file: on a registered scan it lies where the scan's file does.
        self.affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ownMatrix(node)
        self.spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        self.directions = self.affine[:3, :3] / self.spacing

    def position(self, index: int) -> list[str]:
        return [f"{value:.8g}" for value in (self.affine @ [0, 0, index, 1])[:3]]

    def orientation(self) -> list[str]:
        return [f"{value:.8g}" for value in (*self.directions[:, 0], *self.directions[:, 1])]


def _common(node: Any) -> Any:
    """What all slices of the series share."""
    from pydicom.dataset import Dataset

    now = datetime.datetime.now(datetime.timezone.utc)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]
    dataset.SyntheticData = "YES"
    dataset.SOPClassUID = MR_IMAGE_STORAGE
    dataset.ContentQualification = "RESEARCH"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = now.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = now.strftime("%H%M%S")
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality = "MR"
    dataset.Manufacturer, dataset.ManufacturerModelName = "VCMSlicer", "VCMSlicer"
    dataset.SoftwareVersions = vcm.__version__
    dataset.StudyDescription = "SYNTHETIC, research only"
    contrast = node.GetAttribute(CONTRAST) or ""
    dataset.BodyPartExamined = node.GetAttribute(BODY_PART) or ""
    dataset.ProtocolName = f"SYNTHETIC {contrast}".strip()[:64]
    dataset.SeriesDescription = f"{dataset.ProtocolName}, seed {node.GetAttribute(SEED) or 'unknown'}"[:64]
    dataset.PatientName, dataset.PatientID = "SYNTHETIC^VCMSlicer", f"SYNTHETIC-{(node.GetAttribute(RUN) or '')[:40]}"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientComments = dataset.ImageComments = "SYNTHETIC: not an image of a person"
    dataset.DerivationDescription = json.dumps(sidecarOf(node)["provenance"].get("request", {}))[:1024]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "RM", "NONE", ""
    dataset.MRAcquisitionType = "3D"
    dataset.EchoTime = dataset.RepetitionTime = dataset.EchoTrainLength = None
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = _uid(), _uid(), _uid()
    dataset.StudyID, dataset.SeriesNumber, dataset.PositionReferenceIndicator = "1", 1, ""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = _window(node)
    return dataset


def _slice(common: Any, geometry: _Geometry, index: int, plane: np.ndarray) -> Any:
    from pydicom.dataset import FileMetaDataset

    dataset = type(common)(common)
    dataset.SOPInstanceUID = _uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MR_IMAGE_STORAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    dataset.file_meta.ImplementationClassUID = _uid()
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = geometry.position(index)
    dataset.ImageOrientationPatient = geometry.orientation()
    dataset.PixelSpacing = [f"{geometry.spacing[1]:.8g}", f"{geometry.spacing[0]:.8g}"]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = f"{geometry.spacing[2]:.8g}"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelData = plane.tobytes()
    return dataset


def _window(node: Any) -> tuple[str, str]:
    low, high = node.GetImageData().GetScalarRange()
    return f"{(low + high) / 2:.6g}", f"{max(high - low, 1e-6):.6g}"


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
