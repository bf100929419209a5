"""MONAI's networks without the rest of it; each case is a process of its own, beside one that imports MONAI plainly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[3] / "VCMSlicer"
NETWORKS = "from monai.networks.nets import AutoencoderKL, DiffusionModelUNet, UNet"
LEAN = f"import vcm.models.backbones\n{NETWORKS}"


STARTED = """
import sys, vcm.models.backbones
from monai.networks.nets import UNet
print(vars(sys.modules["monai"]).get("STARTED"))
"""


def python(code: str, *paths: Path) -> str:
    search = os.pathsep.join(map(str, (*paths, ENGINE)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


NAMES = """
import json, sys
import monai
monai.__basedir__
import monai.networks.nets, monai.apps
def names(module):
    return sorted(name for name in vars(module) if not name.startswith("__"))
print(json.dumps({name: names(module) for name, module in sys.modules.items() if name.split(".")[0] == "monai"}))
"""


def test_a_network_comes_with_few_modules_and_all_of_monai_is_the_same_when_it_is_asked_for():
    few = python(
        f"{LEAN}\nimport sys\nprint(sum(m.split('.')[0] == 'monai' for m in sys.modules), "
        "{'scipy', 'matplotlib', 'torch._dynamo'} & sys.modules.keys())"
    )
    assert few.split()[1] == "set()" and int(few.split()[0]) < 60
    plain = json.loads(python(NAMES))
    assert len(plain) > 400
    assert json.loads(python(f"{LEAN}\n{NAMES}")) == plain


def test_loading_the_packs_that_ship_imports_neither_all_of_monai_nor_pytorchs_compiler():
    python("""
import sys
from vcm.judging.segmentation import choose_segmenter
from vcm.models.layout.layout import Layout
from vcm.models.loading import load_backbone, load_control
from vcm.packs.store import find_pack
load_control(find_pack("brainldm-mini-ventricles"))
Layout.load(find_pack("brainldm-mini-layout"))
backbone = find_pack("brainldm-mini")
load_backbone(backbone), choose_segmenter(backbone)
assert not {"scipy.stats", "matplotlib", "sympy", "torch._dynamo", "monai.data"} & sys.modules.keys()
""")


def test_classes_taken_before_are_those_taken_after_and_are_pickled_as_ever():
    code = f"""
{LEAN}
import io, pickle, sys
small = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(2, 4), strides=(2,))
data = pickle.dumps(small)
lean = sys.modules["monai.networks.nets"]
import monai
assert monai.networks.nets is lean and monai.networks.nets.UNet is UNet
monai.__basedir__
assert type(monai) is type(sys) and type(lean) is type(sys) and len(sys.modules) > 1000
assert monai.networks.nets.UNet is UNet and monai.networks.nets.AutoencoderKL is AutoencoderKL
assert isinstance(pickle.loads(data), monai.networks.nets.unet.UNet)
sys.stdout.buffer.write(data)
"""
    search = os.pathsep.join([str(ENGINE)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": search}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    read = "import pickle, sys\nnetwork = pickle.loads(sys.stdin.buffer.read())\nprint(type(network).__module__)"
    again = subprocess.run([sys.executable, "-c", read], input=done.stdout, capture_output=True, check=True)
    assert again.stdout.split() == [b"monai.networks.nets.unet"]


def test_more_networks_come_as_light_and_what_is_not_there_is_missed_as_ever():
    python(f"""
{LEAN}
import inspect, sys
from monai.networks.nets import ControlNet, PatchDiscriminator, VQVAE, resnet
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
import monai
assert monai.__version__ and monai.networks.nets.resnet is resnet and inspect.isclass(VQVAE)
assert not hasattr(monai.networks.nets, "__wrapped__") and "monai.data" not in sys.modules
for package in (monai, monai.networks.nets):
    try:
        package.NoSuchThing
    except AttributeError as error:
        assert "NoSuchThing" in str(error)
    else:
        raise AssertionError
try:
    from monai.networks.nets import NoSuchNetwork
except ImportError as error:
    assert "NoSuchNetwork" in str(error)
assert "AHNet" in dir(monai.networks.nets)
""")


@pytest.mark.parametrize(
    "wanted",
    [
        "from monai.transforms import Compose",
        "from monai.losses import DiceCELoss, PatchAdversarialLoss",
        "from monai.networks.nets import VISTA3D",
        "from monai.networks.nets.vista3d import VISTA3D",
        "import monai.data",
        "import monai; monai.metrics.DiceMetric",
        "from monai import transforms",
    ],
)
def test_who_asks_for_more_than_networks_gets_all_of_monai(wanted):
    python(f"""
{LEAN}
import sys
{wanted}
import monai
assert type(monai) is type(sys) and sum(name.split(".")[0] == "monai" for name in sys.modules) > 400
assert all(sys.modules[name].__spec__.name == name for name in sys.modules if name.split(".")[0] == "monai")
assert monai.networks.nets.UNet is UNet and monai.transforms is sys.modules["monai.transforms"]
""")


def test_a_star_takes_every_network():
    assert int(python(f"{LEAN}\nfrom monai.networks.nets import *\nprint(len(globals()))")) > 150


def test_where_monai_is_there_already_nothing_is_touched():
    python(f"""
import sys, monai
before = dict(vars(monai)), list(sys.meta_path)
{LEAN}
assert (dict(vars(monai)), sys.meta_path) == before and type(monai) is type(sys)
""")


def test_reading_manifests_as_slicer_does_leaves_imports_alone():
    python("import sys\nbefore = list(sys.meta_path)\nimport vcm.packs.manifest\nassert sys.meta_path == before")


@pytest.mark.parametrize(
    "changes",
    [
        {"networks/nets/__init__.py": "from .unet import UNet\nNETWORKS = [UNet]\n"},
        {"networks/nets/__init__.py": "from .unet import UNet as U\nUNet = U\n"},
        {"networks/nets/__init__.py": "from monai.networks.nets.unet import UNet\n"},
        {"apps/__init__.py": None},
        {"_version.py": None},
    ],
)
def test_another_layout_of_monai_is_imported_plainly(tmp_path, changes):
    files = {
        "__init__.py": "STARTED = True\n", "_version.py": "", "apps/__init__.py": "", "networks/__init__.py": "",
        "networks/nets/__init__.py": "from .unet import UNet\n", "networks/nets/unet.py": "class UNet: pass\n",
        "config/__init__.py": "", "utils/__init__.py": "", "networks/layers/__init__.py": "",
        "networks/blocks/__init__.py": "", **changes,
    }  # fmt: skip
    for name, text in files.items():
        if text is not None:
            path = tmp_path / "monai" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert python(STARTED, tmp_path) == "True\n"


def test_the_known_layout_waits(tmp_path):
    for name, text in {
        "__init__.py": "STARTED = True\n", "_version.py": "", "apps/__init__.py": "", "networks/__init__.py": "",
        "networks/nets/__init__.py": '"""Nets."""\nfrom .unet import UNet\nfrom .other import Other\n',
        "networks/nets/unet.py": "class UNet: pass\n", "networks/nets/other.py": "1 / 0\n",
        "config/__init__.py": "", "utils/__init__.py": "", "networks/layers/__init__.py": "",
        "networks/blocks/__init__.py": "",
    }.items():  # fmt: skip
        path = tmp_path / "monai" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert python(STARTED, tmp_path) == "None\n"
