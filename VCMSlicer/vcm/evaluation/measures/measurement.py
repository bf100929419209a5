"""One number of an evaluation: which image, under which conditions, of which structure, by which measure."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLED, UNCONTROLLED, RECONSTRUCTION = "controlled", "uncontrolled", "reconstruction"
WHOLE_IMAGE = "image"


@dataclass(frozen=True)
class MeasureKind:
    """A measure in words: its title, its unit, its significant decimals, and which way is better."""

    title: str
    unit: str = ""
    digits: int = 3
    better: str = ""

    @property
    def heading(self) -> str:
        """Title, unit and direction.

        >>> KINDS["hd95"].heading
        'HD95, mm ↓'
        """
        return f"{self.title}{f', {self.unit}' if self.unit else ''} {self.better}".strip()


KINDS: dict[str, MeasureKind] = {
    "dice": MeasureKind("Dice", better="↑"),
    "hd95": MeasureKind("HD95", "mm", 2, "↓"),
    "assd": MeasureKind("ASSD", "mm", 2, "↓"),
    "requested_ml": MeasureKind("volume asked for", "ml", 1),
    "obtained_ml": MeasureKind("volume obtained", "ml", 1),
    "volume_error": MeasureKind("|obtained − asked for|", "ml", 1, "↓"),
    "local_contrast": MeasureKind("contrast with the tissue around"),
    "real_contrast": MeasureKind("the same in the case's own image"),
    "tissue_order": MeasureKind("order of tissues as in the case's own image", digits=2, better="↑"),
    "given_mse": MeasureKind("MSE of the given image", digits=5, better="↓"),
    "given_distance": MeasureKind("distance of the given image", digits=5, better="↓"),
    "ssim": MeasureKind("SSIM", better="↑"),
    "ms_ssim": MeasureKind("MS-SSIM", better="↑"),
    "mae": MeasureKind("MAE", digits=4, better="↓"),
    "mse": MeasureKind("MSE", digits=5, better="↓"),
    "psnr": MeasureKind("PSNR", "dB", 2, "↑"),
    "lpips": MeasureKind("LPIPS"),
    "fid_2d_axial": MeasureKind("FID 2D, axial", digits=2, better="↓"),
    "fid_2d_coronal": MeasureKind("FID 2D, coronal", digits=2, better="↓"),
    "fid_2d_sagittal": MeasureKind("FID 2D, sagittal", digits=2, better="↓"),
    "fid_3d": MeasureKind("FID 3D", digits=4, better="↓"),
    "frechet_segmenter": MeasureKind("Fréchet distance on the segmenter's features (not FID)", digits=4, better="↓"),
}
"""Every measure, in the order of the tables."""


@dataclass(frozen=True)
class Measurement:
    """`value` is None where it could not be measured, and `remark` then says why.

    `images` says what was measured (`controlled`, …), `conditions` which were given, joined by `+`;
    `structure` is a condition's class, or `image`.
    """

    images: str
    conditions: str
    structure: str
    measure: str
    value: float | None
    remark: str = ""


@dataclass(frozen=True)
class Made:
    """One image of a case by how it was made; two of different cases that are equal belong to one set."""

    images: str
    conditions: str = ""

    @property
    def key(self) -> str:
        """A name for files.

        >>> Made(CONTROLLED, "brain+skull").key, Made(RECONSTRUCTION).key
        ('controlled-brain+skull', 'reconstruction')
        """
        return f"{self.images}-{self.conditions}" if self.conditions else self.images
