"""The input doctor: looks at what is given before anything is sampled, and says what it finds in sentences."""

from vcm.doctor.examination import Examination, examine
from vcm.doctor.regions import RegionExamination, examine_region

__all__ = ["Examination", "RegionExamination", "examine", "examine_region"]
