"""What the tests of the module's logic share: things to draw on, and the event loop's gaps."""

import gc
import time
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from slicerStandIn.testing.eventLoop import waitUntil as _waitUntil

TESTING = Path(__file__).resolve().parents[2]
FAKE_WORKER = TESTING / "fake_worker.py"


def waitUntil(holds, seconds=60):
    """Run the event loop until `holds()` is true."""
    _waitUntil(holds, seconds)


def let(seconds):
    """Run the event loop for so long."""
    loop = qt.QEventLoop()
    qt.QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec_()


class Gaps:
    """How long the event loop was held up at a time: in seconds of this thread's own work, and by the clock.

    Other programs on the machine lengthen the second and not the first. What earlier tests left in the process is
    kept from the garbage collector meanwhile: to look through it takes a tenth of a second and is no work of the panel.
    """

    def __init__(self):
        gc.collect()
        gc.freeze()
        self._work = self._clock = 0.0
        self._last = time.thread_time(), time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setInterval(1)
        self._timer.connect("timeout()", self._tick)
        self._timer.start()

    def _tick(self):
        # Nothing is kept: what a list of times costs the garbage collector would be measured as well.
        last, self._last = self._last, (time.thread_time(), time.perf_counter())
        self._work = max(self._work, self._last[0] - last[0])
        self._clock = max(self._clock, self._last[1] - last[1])

    def worst(self):
        self._timer.stop()
        gc.unfreeze()
        return self._work, self._clock


def vtkMatrix(array):
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel())
    return matrix


def transformNode(matrix, parent=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(vtkMatrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def turned(axis, degrees):
    """A rotation about one of the three axes as 4×4."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    a, b = [other for other in range(3) if other != axis]
    matrix[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


def scan(dimensions, affine, name="scan"):
    """A volume to draw on."""
    return slicer.util.addVolumeFromArray(np.zeros(dimensions[::-1], np.int16), np.asarray(affine, float), name=name)


def obliqueScan():
    """70 × 90 × 40 voxels of 0.9 × 0.9 × 2 mm, tilted about two axes, off centre."""
    affine = turned(0, 17) @ turned(2, -11) @ np.diag([-0.9, 0.9, 2.0, 1.0])
    affine[:3, 3] = (41.3, -52.7, -18.9)
    return scan((70, 90, 40), affine), affine


def segmentation(reference, **segments):
    """A segmentation on the voxels of a volume with segments given as arrays [k, j, i]."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for name, array in segments.items():
        node.GetSegmentation().AddEmptySegment(name, name)
        if array is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, name, reference)
    return node


def letterF(reference, at=(12, 20, 9)):
    """A shape that no mirror image and no turn of its own covers, as an array [k, j, i]."""
    array = np.zeros(reference.GetImageData().GetDimensions()[::-1], bool)
    i, j, k = at
    array[k : k + 14, j : j + 3, i : i + 2] = True
    array[k + 12 : k + 14, j : j + 11, i : i + 2] = True
    array[k + 6 : k + 8, j : j + 7, i : i + 5] = True
    return array


def worldPoints(array, affine):
    """The places of all voxels that are not 0, sorted, in millimetres."""
    k, j, i = np.nonzero(array)
    return sortedPoints(np.stack([i, j, k, np.ones_like(i)]).T @ np.asarray(affine).T)


def sortedPoints(points):
    points = np.round(np.asarray(points)[:, :3], 4)
    return points[np.lexsort(points.T)]
