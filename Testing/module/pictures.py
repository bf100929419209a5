"""Take the pictures of docs/slicer.md from the running module: `make module-pictures`, or with a FOLDER of your own.

The demo case with the model that ships, in the stand-in for Slicer; needs the packages of the engine and of the tests.
"""

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE / "support"), str(HERE.parent / "harness"), str(ROOT / "VCMSlicer")]
PATIENCE = 900
SLICES_ALONE = 20418
VIEW = """<item><view class="vtkMRMLSliceNode" singletontag="{name}">
<property name="orientation" action="default">{orientation}</property></view></item>"""
LAYOUT = (
    '<layout type="horizontal">'
    + VIEW.format(name="Red", orientation="Axial")
    + '<item><layout type="vertical">'
    + VIEW.format(name="Green", orientation="Coronal")
    + VIEW.format(name="Yellow", orientation="Sagittal")
    + "</layout></item></layout>"
)
LATERAL_VENTRICLES = (-12.0, -12.0, 14.0)


def main(folder: Path) -> None:
    """Open the module, go through the demo, and take a picture at each stop."""
    home = Path(tempfile.mkdtemp(prefix="vcm-pictures-"))
    os.environ.update(QT_QPA_PLATFORM="offscreen", XDG_DATA_HOME=str(home), VCM_PACKS=str(home / "packs"))

    from slicerStandIn import start

    start()
    import slicer
    from opened import MODULE, Opened
    from slicerStandIn.application.moduleFactory import loadModule, unloadModule
    from slicerStandIn.testing.eventLoop import processEvents, waitUntil
    from slicerStandIn.testing.mouse import reveal
    from slicerStandIn.testing.screenshots import saveScreenshot
    from slicerStandIn.views.mainWindow import qSlicerMainWindow

    window = qSlicerMainWindow()
    window.resize(1440, 1000)
    window.open()
    layouts = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    layouts.AddLayoutDescription(SLICES_ALONE, LAYOUT)
    slicer.app.layoutManager().setLayout(SLICES_ALONE)
    module = loadModule(MODULE)
    window.selectModule(module)
    opened = Opened(module, window, home)
    opened.logic.environment.interpreter = sys.executable
    opened.panel.model.chooseDevice("cpu")
    processEvents(0.2)

    def look(name: str, at: object) -> None:
        for view in ("Red", "Green", "Yellow"):
            slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode().JumpSlice(*LATERAL_VENTRICLES)
        reveal(at)
        processEvents(0.3)
        print(saveScreenshot(window, folder / f"{name}.png"))

    opened.press(opened.ui.startDemoButton)
    look("paint", opened.ui.modelSection)
    window.resize(1440, 900)
    opened.press(opened.ui.generateButton)
    waitUntil(lambda: opened.client.fraction > 0.3 or not opened.client.state.busy, PATIENCE)
    look("generate", opened.ui.generateButton)
    waitUntil(lambda: not opened.client.state.busy, PATIENCE)
    assert opened.client.failure is None, opened.client.failure
    processEvents(0.3)
    look("result", opened.ui.exportButton)
    opened.press(opened.ui.compareButton)
    for column in ("Controlled", "Uncontrolled", "Difference"):
        for orientation in ("Axial", "Coronal"):
            slicer.app.layoutManager().sliceWidget(f"VCM{column}{orientation}").mrmlSliceNode().JumpSlice(
                *LATERAL_VENTRICLES
            )
    look("compare", opened.ui.exportButton)
    pack = opened.panel.context.readyPack
    maps = [control.name for control in pack.controls if control.conditions[0].kind == "labels"]
    if maps:
        # A tissue map in the making, where a control for one ships.
        opened.press(opened.ui.compareButton)
        opened.parameters.controlName = maps[0]
        processEvents(0.2)
        opened.press(opened.ui.startTemplateButton)
        look("tissues", opened.ui.modelSection)
    opened.client.shutdown(2)
    window.close_()
    unloadModule(module)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots")
