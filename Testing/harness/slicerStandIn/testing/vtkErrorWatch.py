"""VTK and MRML report errors to a window that no test looks at; here they are kept."""

from typing import Any

import vtk


class VtkErrorWatch:
    """Collects the texts of VTK's errors, from `start` to `stop`; warnings are let go."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._observation: int | None = None

    def start(self) -> None:
        @vtk.calldata_type(vtk.VTK_STRING)
        def keep(caller: Any, event: str, text: str) -> None:
            self.errors.append(text.strip())

        self._observation = vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", keep)

    def stop(self) -> None:
        vtk.vtkOutputWindow.GetInstance().RemoveObserver(self._observation)

    def take(self) -> list[str]:
        """Give the errors so far and forget them: for a test in which they are expected."""
        errors, self.errors = self.errors, []
        return errors

    def raiseIfAny(self) -> None:
        """Raise AssertionError with what was collected."""
        if self.errors:
            raise AssertionError("VTK reported errors:\n\n" + "\n\n".join(self.errors))
