"""The part of the panel that scrolls, above Generate and its progress, which stay in sight."""

from __future__ import annotations

from typing import Any

SCROLL_BAR_PIXELS = 18


class ScrollingPart:
    """Keeps the scroll area of `VCMSlicer.ui` as wide as the sections in it need.

    Slicer puts a module's widget into a scroll area of its own (qSlicerModulePanel), whose contents are stretched to
    the height in sight, unless their least height is more. So the panel asks for little height: the scroll area's
    vertical policy is Ignored with a small minimum, and it takes all that the bar below leaves. Then Slicer's area has
    nothing to scroll, ours scrolls the sections, and the bar stays at the bottom. Only with Help unfolded in a very
    low window does Slicer's area scroll too.

    A scroll area hides how wide its contents have to be, and Slicer's never scrolls sideways. So the width is handed
    on here: after each change, of which a change of the contents' height tells, such as a section that unfolds or the
    options of another effect of the Segment Editor.
    """

    def __init__(self, ui: Any) -> None:
        self._area, self._contents = ui.scrollArea, ui.scrollContents
        self._bar = self._area.verticalScrollBar()
        self._bar.connect("rangeChanged(int,int)", self._fit)
        self._fit()

    def reveal(self, widget: Any) -> None:
        """Scroll until a widget is in sight."""
        self._area.ensureWidgetVisible(widget)

    def cleanup(self) -> None:
        """Stop listening."""
        self._bar.disconnect("rangeChanged(int,int)", self._fit)

    def _fit(self, *_arguments: Any) -> None:
        least = self._contents.layout().totalMinimumSize().width() + SCROLL_BAR_PIXELS
        self._area.setMinimumWidth(least)
