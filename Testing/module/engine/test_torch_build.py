"""Which PyTorch is installed where: by card, driver and system; the one of Slicer's own; and that it is that one."""

import json
import shutil
import subprocess
import sys

import pytest
import stubWheels
from opened import home  # noqa: F401
from test_environment import START_WORKER, environment, few, index, install, run, wheels  # noqa: F401
from VCMSlicerLib.install import installPlan, torchBuild
from VCMSlicerLib.install.installPlan import APPLE, CPU, NVIDIA, makePlan
from VCMSlicerLib.install.nvidiaCards import NvidiaCards, findNvidiaCards
from VCMSlicerLib.install.packageFolder import PackageFolder
from VCMSlicerLib.install.torchBuild import InstalledTorch, chooseBuild, installedTorch, whyNone
from VCMSlicerLib.preflight import Level

GTX_1080 = NvidiaCards(("GeForce GTX 1080",), (6, 1), (12, 4))
RTX_4090 = NvidiaCards(("GeForce RTX 4090",), (8, 9), (12, 6))
RTX_5090 = NvidiaCards(("GeForce RTX 5090",), (12, 0), (13, 0))


@pytest.mark.parametrize(
    "system, cards, processor, label",
    [
        ("win32", RTX_5090, NVIDIA, "cu130"),
        ("win32", RTX_4090, NVIDIA, "cu126"),
        ("win32", NvidiaCards(RTX_4090.names, (8, 9), (13, 1)), NVIDIA, "cu130"),
        ("win32", GTX_1080, NVIDIA, "cu126"),
        ("win32", NvidiaCards(GTX_1080.names, (6, 1), (13, 0)), NVIDIA, "cu126"),
        ("win32", NvidiaCards(RTX_5090.names, (12, 0), (12, 8)), CPU, "cpu"),
        ("win32", NvidiaCards(("GeForce GTX 680",), (3, 0), (11, 4)), CPU, "cpu"),
        ("win32", NvidiaCards(RTX_4090.names, (8, 9), (11, 8)), CPU, "cpu"),
        ("linux", RTX_5090, NVIDIA, "cu130"),
        ("linux", GTX_1080, NVIDIA, "cu126"),
    ],
)
def test_the_build_has_kernels_for_the_card_and_runs_on_its_driver(monkeypatch, system, cards, processor, label):
    monkeypatch.setattr(sys, "platform", system)
    build = chooseBuild(NVIDIA, cards)
    assert (build.processor, build.label) == (processor, label)
    assert bool(build.remark) == (processor == CPU)
    if processor == CPU:
        assert cards.names[0] in build.remark and build.remark.endswith("It will compute on the processor.")


@pytest.mark.parametrize(
    "system, processor, requirement, index",
    [
        ("linux", CPU, "+cpu", "whl/cpu"), ("linux", NVIDIA, "", ""), ("win32", NVIDIA, "+cu130", "whl/cu130"),
        ("win32", CPU, "", ""), ("darwin", APPLE, "", ""),
    ],
)  # fmt: skip
def test_a_build_from_pytorchs_own_index_is_asked_for_by_its_label(
    monkeypatch,
    tmp_path,
    system,
    processor,
    requirement,
    index,  # noqa: F811
):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(torchBuild, "findNvidiaCards", lambda: RTX_5090)
    plan = makePlan(PackageFolder(tmp_path), processor=processor)
    arguments = plan.resolve("python")[0].arguments
    given = [argument for argument in arguments if argument.startswith("https://")]
    assert (given == []) if not index else given[0].endswith(index)
    pinned = dict(stubWheels.pinned())["torch"]
    asked = [argument for argument in arguments if argument.startswith("torch==")]
    assert asked == ([f"torch=={pinned}{requirement}"] if requirement else [])
    check = plan.unpack("python", START_WORKER)[-1].arguments
    assert check[check.index("--torch") + 1] == pinned + requirement


def test_an_index_that_lacks_the_build_is_an_error_and_no_reason_to_take_another(environment, index, monkeypatch):  # noqa: F811
    monkeypatch.setattr(torchBuild, "findNvidiaCards", lambda: RTX_5090)
    monkeypatch.setattr(torchBuild, "CUDA_13_DRIVER", (99, 0))
    monkeypatch.setattr(torchBuild, "CUDA_12_BELOW", (99, 0))
    monkeypatch.setattr(torchBuild, "INDEX", index.url + "/")
    failure = install(environment, processor=NVIDIA)
    assert failure is not None and "torch" in failure.sentence and "no build" in failure.sentence
    assert not environment.ready


def test_another_build_than_was_asked_for_is_found_by_the_check(environment, wheels):  # noqa: F811
    assert install(environment, wheels=wheels) is None
    packages = environment.folder.packages
    pinned = dict(stubWheels.pinned())["torch"]
    for wanted, wrong in ((pinned, False), (f"{pinned}+cu130", True), ("1.0", True)):
        found = json.loads(run(START_WORKER, "--packages", packages, "--check", "--torch", wanted).stdout)
        assert bool(found["problem"]) is wrong, found
        assert not wrong or f"in place of {wanted}" in found["problem"]


def test_the_check_computes_on_the_card_too_and_what_fails_there_leaves_the_processor(environment, wheels):  # noqa: F811
    assert install(environment, wheels=wheels) is None
    torch = environment.folder.packages / "torch" / "__init__.py"
    plain = torch.read_text()
    check = ("--packages", environment.folder.packages, "--check", "--device", "cuda")
    assert "no graphics card" in json.loads(run(START_WORKER, *check).stdout)["deviceProblem"]
    torch.write_text(plain + CARD_WITHOUT_KERNELS)
    found = json.loads(run(START_WORKER, *check).stdout)
    assert found["problem"] == "" and "no kernel image is available" in found["deviceProblem"]
    torch.write_text(plain + CARD_WITHOUT_KERNELS.replace("raise RuntimeError", "None and RuntimeError"))
    assert json.loads(run(START_WORKER, *check).stdout)["deviceProblem"] == ""


CARD_WITHOUT_KERNELS = """
class cuda:
    is_available = staticmethod(lambda: True)
    get_device_name = staticmethod(lambda _index: "card")
class _Array(tuple):
    def to(self, device):
        if device == "cuda":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        return self
def from_numpy(shape):
    return _Array(shape)
def ones(*shape):
    return _Array(shape)
"""


def test_a_card_that_does_not_compute_is_told_in_amber(environment, wheels, monkeypatch):  # noqa: F811
    monkeypatch.setattr(torchBuild, "findNvidiaCards", lambda: RTX_5090)
    assert install(environment, wheels=wheels, processor=NVIDIA) is None, "the processor can do it"
    assert environment.ready and "no graphics card" in environment.deviceProblem
    (light,) = [item for item in environment.preflight() if item.name == "Processor"]
    assert light.level is Level.AMBER and environment.deviceProblem in light.words


# A PyTorch that Slicer has already


@pytest.fixture
def slicersOwn(tmp_path, wheels):  # noqa: F811
    """A folder like Slicer's own packages: torch in it, another numpy too."""
    folder = tmp_path / "site-packages"
    (tmp_path / "older").mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder)
    made = [next(wheels.glob("torch-*")), stubWheels.makeWheel(tmp_path / "older", "numpy", "1.0", "OLD = True")]
    subprocess.run([*map(str, pip), *map(str, made)], check=True, timeout=120)
    return folder


def test_slicers_torch_is_used_and_only_the_rest_is_installed(environment, wheels, slicersOwn, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PYTHONPATH", str(slicersOwn))
    torch = InstalledTorch("2.13.0+cpu", slicersOwn)
    plan = environment.plan(wheels=wheels, shared=torch)
    assert "2.13.0+cpu, which is in Slicer already" in plan.words and plan.diskBytes < 1e9
    ended = []
    environment.install(plan, ended.append)
    from logicSetup import waitUntil

    waitUntil(lambda: ended, 120)
    assert ended == [None] and environment.ready
    installed = {entry.name.split("-")[0] for entry in environment.folder.packages.iterdir()}
    assert "numpy" in installed and "torch" not in installed
    command = environment.workerCommand()
    assert command.arguments[-2:] == ("--shared-torch", str(slicersOwn))
    found = json.loads(run(*command.arguments, "--check").stdout)
    assert found["problem"] == "" and found["versions"]["numpy"] == dict(stubWheels.pinned())["numpy"]
    assert "torch came from" in json.loads(run(*command.arguments[:-2], "--check").stdout)["problem"]
    shutil.rmtree(slicersOwn / "torch")
    assert not environment.ready and "gone" in environment.stateWords()


def test_what_needs_torch_is_taken_without_it_where_slicers_is_used(environment, monkeypatch, tmp_path):  # noqa: F811
    from VCMSlicerLib.install import packageFolder

    monkeypatch.setattr(installPlan, "REQUIREMENTS", packageFolder.REQUIREMENTS)
    steps = environment.plan(shared=InstalledTorch("2.8.0", tmp_path)).resolve("python")
    rest, needing = (step.arguments for step in steps)
    assert not any(argument.startswith(("torch", "monai", "-r")) for argument in rest)
    assert "--no-deps" in needing and [a for a in needing if "==" in a] == [
        f"monai=={dict(stubWheels.pinned())['monai']}"
    ]
    assert rest[rest.index("--report") + 1] != needing[needing.index("--report") + 1]


@pytest.mark.parametrize(
    "version, usable", [("2.5.1+cu121", False), ("2.6.0", True), ("2.13.0+cpu", True), ("odd", False)]
)
def test_only_a_torch_that_the_engine_works_with_is_offered(tmp_path, version, usable):
    assert InstalledTorch(version, tmp_path).usable is usable


def test_the_torch_of_this_python_is_found_without_loading_it():
    import torch

    found = installedTorch()
    assert found.version == torch.__version__ and (found.folder / "torch" / "__init__.py").is_file()


# A computer for which there is none


def test_on_a_mac_with_an_intel_processor_nothing_is_begun_and_a_remedy_is_named(environment, monkeypatch, index):  # noqa: F811
    machine = ["arm64"]
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(torchBuild.platform, "machine", lambda: machine[0])
    assert whyNone() == ("", "") and environment.whyNot(environment.plan()) is None
    machine[0] = "x86_64"
    failure = install(environment)
    assert "Intel" in failure.sentence and "Use another Python" in failure.remedy
    assert index.asked == [] and not environment.folder.folder.exists()


# The driver's own library


NVML = """
#include <string.h>
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) { *handle = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = (long)handle == 1 ? 6 : 12; *minor = (long)handle == 1 ? 1 : 0; return (long)handle == 3 ? 15 : 0;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned int length) {
    strncpy(name, (long)handle == 1 ? "Old card" : "New card", length); return 0;
}
"""


def library(folder, init=0, count=3):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler for a driver's library of its own")
    source, made = folder / "nvml.c", folder / f"nvml-{init}-{count}.so"
    source.write_text(NVML)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}", "-o", str(made), str(source)], check=True
    )
    return str(made)


def test_cards_and_driver_are_read_from_the_drivers_library(tmp_path):
    assert findNvidiaCards(library(tmp_path)) == NvidiaCards(("Old card", "New card"), (12, 0), (12, 8))
    assert findNvidiaCards(library(tmp_path, count=0)) is None
    assert findNvidiaCards(library(tmp_path, init=9)) is None
    assert findNvidiaCards(str(tmp_path / "none.so")) is None
