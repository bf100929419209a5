"""Finds out whether this machine can render, in a process of its own: without OpenGL, VTK crashes."""

import functools
import os
import subprocess
import sys

_PROBE = """
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.vtkRenderingCore import vtkRenderWindow, vtkRenderer
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtkRenderer())
window.Render()
print(window.GetClassName())
"""
_OSMESA = "vtkOSOpenGLRenderWindow"


class NoRendering(RuntimeError):
    """The sentence says what to install."""


@functools.cache
def renderWindowClass() -> str:
    """Class of the render window that works here: VTK's own choice (EGL without a screen), else OSMesa.

    Raises NoRendering if neither works.
    """
    for choice in ("", _OSMESA):
        environment = os.environ | ({"VTK_DEFAULT_OPENGL_WINDOW": choice} if choice else {})
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode == 0:
            if choice:
                os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = choice
            return done.stdout.split()[-1]
    raise NoRendering(
        "this machine cannot render: neither EGL nor OSMesa answers. On Debian and Ubuntu "
        "`apt-get install libgl1 libegl1` (or libosmesa6) is enough; no screen and no Xvfb are needed."
    )
