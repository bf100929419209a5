"""Runs scripted modules of 3D Slicer without Slicer: real MRML (slicer-core), Slicer's Qt layer over PySide6.

>>> from slicerStandIn import start, loadModule                        # doctest: +SKIP
>>> start()                                                            # doctest: +SKIP
>>> panel = loadModule("MyModule/MyModule.py").widgetRepresentation()  # doctest: +SKIP
"""

from .start import start

__all__ = ["start"]
