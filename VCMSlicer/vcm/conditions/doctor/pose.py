"""Checks how an image of a head lies: not only where its middle is, but how it is turned against the model's heads."""

from __future__ import annotations

from vcm.conditions.doctor.notebook import Notebook
from vcm.core.volume import Volume
from vcm.registration.reference import Reference
from vcm.registration.scan import GOOD, Registration, measure_nearby, register_scan

TURNED_DEGREES, MOVED_MM = 10.0, 12.0
"""Heads that the models were trained on differ by less from one another."""


def check_pose(image: Volume, reference: Reference, notes: Notebook) -> None:
    """Report by how much an image is turned and moved against the reference, where that is too much or not known."""
    # An image of a skull has no brain by which it could be laid, and is held against a head without one.
    nearby = (measure_nearby(image, head) for head in (reference, reference.hollowed()))
    found = max(nearby, key=lambda one: one.similarity)
    if found.similarity < GOOD:
        found = register_scan(image, reference)
    if found.similarity < GOOD:
        notes.note(
            "POSE_UNKNOWN",
            f"How {notes.who} lies against the model's heads is not known: it does not look like one of them "
            f"(correlation ratio {found.similarity:.2f}).",
            "Look at what the model sees.",
        )
    elif _is_off(found):
        notes.warning(
            "POSE",
            f"{notes.who} is turned by {found.pose.degrees:.0f}° and moved by {found.shift_mm:.0f} mm against the "
            "model's heads.",
            "Register it to the model's space first: in Slicer with Register, else with vcm register.",
        )


def _is_off(found: Registration) -> bool:
    return found.pose.degrees > TURNED_DEGREES or found.shift_mm > MOVED_MM
