"""The input doctor: looks at what is given before anything is sampled, and says what it finds in sentences."""

from vcm.conditions.doctor.examination import Examination, examine
from vcm.conditions.doctor.regions import RegionExamination, examine_region

__all__ = ["Examination", "RegionExamination", "examine", "examine_region"]
