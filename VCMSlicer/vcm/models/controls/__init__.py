"""Trained modules that steer a backbone by conditions."""

from vcm.models.lean_monai import defer_monai

defer_monai()
