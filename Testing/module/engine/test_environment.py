"""The worker's packages: whole or not at all, resumed, checked, removed; and help that tells no one's name."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import stubWheels
from logicSetup import waitUntil
from opened import home  # noqa: F401
from vcm.protocol import Device, Machine
from VCMSlicerLib.diagnosticBundle import known, writeBundle
from VCMSlicerLib.engine.jobState import NO_ENVIRONMENT, Failure, JobState
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.install import installation, installPlan, packageFolder
from VCMSlicerLib.install.commandSequence import CommandSequence, SequenceEnd, Step
from VCMSlicerLib.install.environment import Environment
from VCMSlicerLib.install.installPlan import APPLE, CPU, NVIDIA
from VCMSlicerLib.models.packCatalogue import findPack
from VCMSlicerLib.preflight import Level, worst

ROOT = Path(__file__).resolve().parents[3]
START_WORKER = ROOT / "VCMSlicer" / "VCMSlicerLib" / "engine" / "startWorker.py"


@pytest.fixture(autouse=True)
def few(tmp_path, monkeypatch):
    """Three packages in place of eleven, and a pip that knows of no other place to take them from."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    path = tmp_path / "few.txt"
    versions = stubWheels.fewRequirements(path)
    monkeypatch.setattr(installPlan, "REQUIREMENTS", path)
    return versions


@pytest.fixture
def environment(home, scene):  # noqa: F811
    """An environment with a folder of its own and this Python in place of PythonSlicer."""
    made = Environment(home / "own", sys.executable)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def installedOnce(tmp_path_factory):
    """A folder of packages as `install` leaves it."""
    parent = tmp_path_factory.mktemp("installed")
    stubWheels.makeWheels(parent / "wheels")
    environment = Environment(parent, sys.executable)
    assert install(environment, wheels=parent / "wheels") is None
    return environment.folder.folder


@pytest.fixture
def installed(environment, installedOnce):
    shutil.copytree(installedOnce, environment.folder.folder)
    assert environment.ready
    return environment


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    stubWheels.makeWheels(folder)
    return folder


@pytest.fixture
def index(wheels, few, monkeypatch):
    served = stubWheels.Index({name: next(wheels.glob(f"{name}-*")) for name in few})
    monkeypatch.setenv("PIP_INDEX_URL", served.url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield served
    served.close()


def install(environment, **options):
    ended = []
    environment.install(environment.plan(**options), ended.append)
    waitUntil(lambda: ended, 120)
    return ended[0]


def test_nothing_is_there_until_it_is_asked_for(environment, home):  # noqa: F811
    assert not environment.ready and environment.stateWords() == "Not set up yet."
    environment.preflight()
    environment.plan()
    failure = environment.workerCommand()
    assert isinstance(failure, Failure) and failure.code == NO_ENVIRONMENT and failure.remedy
    assert not (home / "own").exists()


def test_the_plan_says_what_how_big_and_where(environment):
    for processor, size in ((CPU, "0.4 GB"), (NVIDIA, "3.2 GB"), (APPLE, "0.3 GB")):
        words = environment.plan(processor=processor).words
        assert "PyTorch" in words and size in words and str(environment.folder.folder) in words
        assert "Slicer's own packages are not touched" in words
    assert "Nothing is downloaded" in environment.plan(wheels="/media/stick").words


def test_it_is_set_up_offline_from_a_folder_of_wheels(environment, wheels, monkeypatch):
    monkeypatch.setattr(installPlan, "REQUIREMENTS", packageFolder.REQUIREMENTS)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nothing-here")
    steps = []
    environment.onChanged(lambda: steps.append(environment.words))
    assert install(environment, wheels=wheels) is None
    assert environment.ready and environment.stateWords() == "Ready."
    assert environment.versions["torch"] == dict(stubWheels.pinned())["torch"]
    assert (environment.folder.packages / "torch" / "__init__.py").is_file()
    assert not environment.folder.partial.exists() and list(wheels.glob("*.whl"))
    assert "Unpacking" in steps and "Checking" in steps


def test_it_is_downloaded_file_by_file_from_an_index(environment, index):
    titles = []
    environment.onChanged(lambda: titles.append(environment.words))
    assert install(environment, processor=APPLE) is None
    assert environment.ready and not environment.folder.wheels.exists()
    assert any(title.startswith("Downloading 2 of 3: ") for title in titles)


def test_what_was_downloaded_before_it_was_broken_off_is_not_downloaded_again(environment, index):
    index.hold, ended = "torch", []
    environment.install(environment.plan(processor=APPLE), ended.append)
    waitUntil(lambda: index.asked.count("torch") > 1, 120)
    environment.cancel()
    waitUntil(lambda: ended)
    assert ended[0].code == installation.BROKEN_OFF and not environment.ready and not environment.busy
    assert environment.stateWords().startswith("The setting up was broken off")
    kept = [path.name.split("-")[0] for path in environment.folder.wheels.glob("*.whl")]
    assert kept and "torch" not in kept
    index.hold, index.asked[:] = "", []
    assert install(environment, processor=APPLE) is None
    # Once to learn what it needs, and a second time only what had not been kept.
    assert all(index.asked.count(name) == 1 for name in kept) and index.asked.count("torch") == 2


def test_a_file_that_was_changed_on_its_way_is_not_taken(environment, index, wheels):
    target = next(wheels.glob("torch-*"))
    report = environment.folder.wheels / "files.json"
    changed = []

    def change():
        if report.is_file() and not changed:
            changed.append(stubWheels.makeWheel(wheels, "torch", dict(stubWheels.pinned())["torch"], "evil = 1\n"))

    environment.onChanged(change)
    failure = install(environment, processor=APPLE)
    assert changed == [target] and failure is not None and not environment.ready
    assert "HASHES" in failure.log or "hash" in failure.log.lower()


def test_packages_that_do_not_compute_rightly_are_not_put_in_place(environment, tmp_path):
    stubWheels.makeWheels(tmp_path / "wrong", wrongSum=True)
    failure = install(environment, wheels=tmp_path / "wrong")
    assert failure.code == NO_ENVIRONMENT and "a sum came out as 479" in failure.sentence
    assert not environment.ready and not environment.folder.partial.exists()


def test_a_failed_setting_up_leaves_the_old_one_in_use(installed, tmp_path):
    environment = installed
    stubWheels.makeWheels(tmp_path / "wrong", wrongSum=True)
    assert install(environment, wheels=tmp_path / "wrong") is not None
    assert environment.ready and (environment.folder.packages / "torch").is_dir()


def test_a_wheel_that_is_missing_is_named(environment, wheels):
    next(wheels.glob("companions-*")).unlink()
    failure = install(environment, wheels=wheels)
    assert "no build of companions==" in failure.sentence and failure.remedy and failure.log


def test_a_folder_without_wheels_is_refused_at_once(environment, tmp_path):
    assert "no *.whl files" in install(environment, wheels=tmp_path).sentence


def test_too_little_disk_is_told_before_anything_is_downloaded(environment, monkeypatch, index):
    monkeypatch.setattr(installPlan, "freeDisk", lambda folder: 1e9)
    failure = install(environment)
    assert failure.code == "DISK_FULL" and "1.8 GB" in failure.sentence and index.asked == []


def test_no_network_is_told_as_such(environment, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    failure = install(environment, processor=APPLE)
    assert failure.code == "DOWNLOAD" and "folder of downloaded files" in failure.remedy


def test_a_python_that_is_not_there_is_told(home, scene):  # noqa: F811
    environment = Environment(home / "own", str(home / "no python"))
    failure = install(environment, processor=APPLE)
    assert failure.code == NO_ENVIRONMENT and not environment.busy


def test_asking_twice_is_refused_and_the_first_goes_on(environment, wheels):
    ended = []
    environment.install(environment.plan(wheels=wheels), lambda failure: ended.append(("first", failure)))
    environment.install(environment.plan(wheels=wheels), lambda failure: ended.append(("second", failure)))
    waitUntil(lambda: len(ended) == 2, 120)
    assert ended[0][0] == "second" and "already" in ended[0][1].sentence and ended[1] == ("first", None)


def test_it_is_checked_again_and_removed_in_one_go(installed):
    environment = installed
    answers = []
    environment.verify(answers.append)
    waitUntil(lambda: answers)
    assert answers == [None]
    (environment.folder.packages / "monai" / "__init__.py").write_text("raise ImportError('broken')\n")
    environment.verify(answers.append)
    waitUntil(lambda: len(answers) == 2)
    assert "broken" in answers[1].sentence
    assert environment.remove() is None and not environment.folder.folder.exists() and not environment.ready


def test_another_version_of_the_module_asks_to_set_it_up_again(installed):
    environment = installed
    marker = environment.folder.folder / "environment.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "requirements": "older"}))
    assert not environment.ready and "another version" in environment.stateWords()
    assert isinstance(environment.workerCommand(), Failure)


def test_an_interpreter_of_the_users_own_needs_no_setting_up(environment, tmp_path):
    environment.interpreter = sys.executable
    command = environment.workerCommand()
    assert environment.ready and command.program == sys.executable
    assert "--packages" not in command.arguments
    assert "PYTHONPATH" not in command.environment and "PYTHONHOME" not in command.environment
    environment.interpreter = str(tmp_path / "gone")
    assert "is not there" in environment.workerCommand().sentence
    environment.interpreter = ""
    assert not environment.ready


# The start of the worker


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        input=b"", capture_output=True, env={**os.environ, **environment}, timeout=60, check=False,
    )  # fmt: skip


def test_the_check_names_a_missing_package_and_one_from_elsewhere(installed, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    found = json.loads(run(START_WORKER, "--packages", other, "--check").stdout)
    assert "numpy came from" in found["problem"]
    packages = installed.folder.packages
    assert json.loads(run(START_WORKER, "--packages", packages, "--check").stdout)["problem"] == ""
    misleading = tmp_path / "misleading" / "torch"
    misleading.mkdir(parents=True)
    (misleading / "__init__.py").write_text("raise RuntimeError('Slicer')\n")
    found = json.loads(run(START_WORKER, "--packages", packages, "--check", PYTHONPATH=str(misleading.parent)).stdout)
    assert found["problem"] == ""


def test_a_worker_with_the_wrong_packages_says_so_and_the_client_hears_it(environment, tmp_path):
    (tmp_path / "empty").mkdir()
    from VCMSlicerLib.engine.workerProcess import WorkerCommand

    command = WorkerCommand(sys.executable, (str(START_WORKER), "--packages", str(tmp_path / "empty")))
    client = WorkerClient(lambda: command)
    ends = []
    client.run(_examine(), ends.append)
    waitUntil(lambda: ends)
    assert client.state is JobState.FAILED and client.failure.code == NO_ENVIRONMENT
    assert "in place of the environment's own folder" in client.failure.sentence


def _examine():
    from vcm.protocol import Examine

    return Examine("x", ())


def test_the_scripts_own_folder_never_shadows_the_engine():
    code = f"import sys; sys.path.insert(0, {str(START_WORKER.parent)!r}); import startWorker as start"
    done = run("-c", code + "; start.arrangePath(None); print(start.importlib.util.find_spec('scene'))")
    assert done.stdout.strip() == b"None", done.stderr


def test_the_worker_really_starts_from_the_script():
    done = run(START_WORKER)
    assert b'"type":"hello"' in done.stdout and done.returncode == 0


# Requirements, lights, bundle


def test_the_script_looks_for_all_that_the_requirements_name():
    needed = ast.literal_eval(re.search(r"^NEEDED = (\{.*?\})", START_WORKER.read_text("utf-8"), re.M | re.S)[1])
    assert sorted(needed.values(), key=str.lower) == sorted((name for name, _ in stubWheels.pinned()), key=str.lower)


def test_the_requirements_are_the_versions_the_tests_run_with():
    constraints = (ROOT / "constraints.txt").read_text("utf-8").lower()
    for name, version in stubWheels.pinned():
        assert re.search(rf"^{re.escape(name.lower())}=={re.escape(version)}(;|$)", constraints, re.MULTILINE), name


def test_the_lights_follow_the_machine(environment):
    pack = findPack("brainldm-mini")
    machine = Machine(
        "m", (Device("cuda:0", "a card", 24 * 10**9, 20 * 10**9), Device("cpu", "a processor")),
        {"torch": "2"}, 16 * 10**9, 9 * 10**9, 70 * 10**9,
    )  # fmt: skip
    lights = {item.name: item for item in environment.preflight(machine, pack)}
    assert [lights[name].level for name in ("Environment", "Model", "Processor", "Memory", "Disk")] == [
        Level.RED, Level.GREEN, Level.GREEN, Level.GREEN, Level.GREEN,
    ]  # fmt: skip
    poor = Machine(
        "m", (Device("cpu", "a processor", 4 * 10**9, 10**9),), {"torch": "not found"}, 4 * 10**9, 10**9, 10**8
    )
    lights = {item.name: item for item in environment.preflight(poor, findPack("brainldm"))}
    assert {lights[name].level for name in ("Model", "Disk", "Versions")} == {Level.RED}
    assert lights["Processor"].level is Level.AMBER and "slower" in lights["Processor"].words
    assert "Not here yet" in lights["Model"].words and "torch" in lights["Versions"].words
    little = {item.name: item for item in environment.preflight(poor, pack)}["Memory"]
    assert little.level is Level.RED and "1.0 GB free" in little.words
    gone = {item.name: item for item in environment.preflight(poor, pack, device="cuda")}["Processor"]
    assert gone.level is Level.RED
    assert worst(environment.preflight(machine, pack)) is Level.RED


def test_the_bundle_has_no_paths_and_no_names(environment, tmp_path):
    import getpass
    import socket

    path = tmp_path / "Müller help.zip"
    secret = tmp_path / "Miller^Anna" / "t1 1957-03-02.nii.gz"
    log = "\n".join(
        [
            f"There is no file {secret}. Check the path.",
            r"cannot read C:\Users\Anna Miller\scan 1.nii: no such file",
            r'opened "\\server\patients\Miller.nrrd" and "D:\x y\z.nii"',
            "MILLER_ANNA.dcm was reoriented; 12/32 steps at 3 it/s",
            f"{getpass.getuser()} on {socket.gethostname()}",
        ]
    )
    environment.interpreter = str(secret)
    environment.diagnosticBundle(path, log, pack=findPack("brainldm-mini"))
    with zipfile.ZipFile(path) as bundle:
        contents = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert set(contents) == {"versions.json", "settings.json", "preflight.txt", "log.txt"}
    whole = "\n".join(contents.values())
    for trace in ("Miller", "MILLER", "Anna", "1957", str(tmp_path), "patients", "server"):
        assert trace not in whole, trace
    for name in (getpass.getuser(), socket.gethostname()):
        assert len(name) < 3 or name not in contents["log.txt"]
    assert "12/32 steps at 3 it/s" in whole and "Check the path." in whole and "brainldm-mini" in whole
    assert json.loads(contents["versions.json"])["python"]


@pytest.mark.parametrize(
    "text",
    [
        "file:///home/miller/anna/t1.nii",
        "cannot read /home/Anna Miller/scan of May.nii",
        "scans/miller/anna.nii is damaged",
        "Case miller_anna is left out.",
        "The segment Millers tumour is empty.",
        "C:/Users/ANNA/t1",
        r"\\\\server\\miller$\\t1",
        "Anna.Miller@hospital.example",
        "smb://miller/share, https://miller.example/?patient=anna",
        "MILLER^ANNA^^^, 19570302, 0049 89 1234567",
        "Müller-Anna 脳 anna’s",
        "t1_MILLERANNA19570302.nii.gz",
        "~miller/anna $HOME/anna %USERPROFILE%\\anna",
        "\x1b[31mMiller\x1b[0m",
    ],
)
def test_no_name_stays_however_it_is_written(text):
    kept = known(text).lower()
    for name in ("miller", "müller", "anna", "hospital.example", "1957", "1234567", "脳", "\x1b"):
        assert name not in kept, kept


@pytest.mark.parametrize(
    "text",
    [
        "dpm++ 12/32",
        "step 3 of 20",
        "The disk is full: a file could not be written.",
        "12:30:05 Samples are measured by the own segmenter of brainldm-mini.",
        "decode in slabs (the same image, less memory): needs about 0.5 GB of 21.0 GB free",
        "Something failed that should not have: FileNotFoundError.",
        "",
    ],
)
def test_what_the_program_says_itself_stays(text):
    assert known(text) == text


def test_settings_and_versions_hold_only_what_is_expected(tmp_path):
    versions = {"torch": "2.4.1", "miller": "1", "monai": "/home/miller/monai"}
    settings = {"model": "miller-anna", "processor": "cpu", "interpreter named": True}
    path = writeBundle(tmp_path / "a.zip", versions=versions, log="", settings=settings, preflight=[])
    with zipfile.ZipFile(path) as bundle:
        kept = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert json.loads(kept["versions.json"])["torch"] == "2.4.1" and "miller" not in "".join(kept.values())
    assert json.loads(kept["settings.json"]) == {"model": "…", "processor": "cpu", "interpreter named": True}


# Sequences of programs


def test_a_sequence_stops_at_the_first_program_that_fails():
    ended, lines = [], []
    steps = [Step(str(n), sys.executable, ("-c", f"print('ä{n}'); raise SystemExit({n})")) for n in (0, 3, 1)]
    CommandSequence(steps, lines.append, ended.append).start()
    waitUntil(lambda: ended)
    assert lines == ["ä0", "ä3"] and ended[0].exitCode == 3 and ended[0].step.title == "3" and not ended[0].good


def test_a_cancelled_sequence_ends_its_programs_children():
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(99)"
    code = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {child!r}])"
    ended, lines = [], []
    sequence = CommandSequence([Step("", sys.executable, ("-c", code))], lines.append, ended.append)
    sequence.start()
    waitUntil(lambda: lines)
    sequence.cancel()
    waitUntil(lambda: ended)
    assert ended[0].cancelled and not ended[0].good
    waitUntil(lambda: not Path(f"/proc/{lines[0]}").exists() or "Z" in Path(f"/proc/{lines[0]}/stat").read_text(), 5)


def test_no_steps_are_a_good_end():
    ended = []
    CommandSequence([], print, ended.append).start()
    waitUntil(lambda: ended)
    assert ended[0].good


@pytest.mark.parametrize(
    "line, code",
    [
        ("OSError: [Errno 28] No space left on device", "DISK_FULL"),
        ("ProxyError('Cannot connect to proxy.')", "DOWNLOAD"),
        ("/usr/bin/python: No module named pip", NO_ENVIRONMENT),
        ("something new", NO_ENVIRONMENT),
    ],
)
def test_pips_words_become_a_sentence_and_a_remedy(line, code):
    failure = installation.pipFailure(SequenceEnd(1, ("before", line), step=Step("Unpacking", "python", ())))
    assert failure.code == code and failure.sentence and failure.remedy and line in failure.log
