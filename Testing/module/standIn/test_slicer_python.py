"""What Slicer's own Python lacks is not needed in its process."""

import json
import os
import subprocess
import sys

from opened import MODULE

BLOCKED = (
    *("torch", "monai", "scipy", "SimpleITK", "nibabel", "safetensors", "jsonschema", "platformdirs", "typer"),
    *("rich", "psutil", "PIL", "matplotlib", "huggingface_hub", "model_signing", "tomli"),
)
NEEDS_MORE = ("startWorker.py", "VCMSlicerSubjectHierarchyPlugin.py")
"""Run by the worker's interpreter, and by Slicer's own plugin."""
SCRIPT = """
import importlib, json, sys
from pathlib import Path

sys.path[:0] = [{harness!r}, {module!r}]
from slicerStandIn import start
start()
for name in {blocked}:
    assert name not in sys.modules, name + " is there before anything was imported"
    sys.modules[name] = None
library = Path({module!r}) / "VCMSlicerLib"
for path in sorted(library.rglob("*.py")):
    if path.name not in {needsMore}:
        importlib.import_module(".".join(("VCMSlicerLib", *path.relative_to(library).with_suffix("").parts)))
import VCMSlicer
from VCMSlicerLib.models.packCatalogue import listPacks
print(json.dumps({{pack.name: [pack.state, [control.name for control in pack.controls]] for pack in listPacks()}}))
"""


def test_every_module_is_imported_and_the_packs_are_listed_without_the_workers_packages(tmp_path):
    harness = MODULE.parents[1] / "Testing" / "harness"
    script = SCRIPT.format(blocked=BLOCKED, harness=str(harness), module=str(MODULE.parent), needsMore=NEEDS_MORE)
    environment = {**os.environ, "VCM_PACKS": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    packs = json.loads(run.stdout.splitlines()[-1])
    assert packs["brainldm-mini"][0] == "ready" and len(packs["brainldm-mini"][1]) == 4
    assert packs["brainldm"][0] == "available"
