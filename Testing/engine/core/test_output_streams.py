"""The error path itself, from outside: streams that are full, closed or cut, too little memory, too many threads."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

CLI = Path(__file__).resolve().parents[3] / "VCMSlicer" / "vcm" / "cli"
COMMAND = f"{sys.executable} -m vcm"


def run(*arguments, **options):
    return subprocess.run(arguments, check=False, capture_output=True, timeout=120, **options)


def vcm(*arguments, packs, **environment):
    variables = {"VCM_PACKS": str(packs), "PATH": "", "PYTHONUTF8": "1", **environment}
    return run(sys.executable, "-m", "vcm", *arguments, env=variables)


def shell(line, **options):
    """How a line ends in a shell: its exit code, what it printed on stdout and on stderr."""
    ended = run("bash", "-c", line, **options)
    return ended.returncode, ended.stdout, ended.stderr.decode()


@pytest.mark.parametrize("arguments", ["packs list --json", "packs list", "--help", "packs info nosuch --json"])
def test_a_full_stdout_is_one_sentence_on_stderr(arguments):
    code, out, err = shell(f"{COMMAND} {arguments} > /dev/full")
    assert (code, out) == (1, b"")
    assert err.startswith("vcm: What this command prints could not be written: No space left on device.\n")
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("packs list > /dev/full 2>&1", 1),
        ("packs list >&-", 0),
        ("packs list --json >&- 2>&-", 0),
        ("packs remove nosuch <&- 2>/dev/full", 1),
        ("nonsense 2>&-", 2),
        ("packs list | true; exit ${PIPESTATUS[0]}", (0, 141)),
    ],
)
def test_streams_that_nobody_reads_are_silence_and_the_right_exit_code(line, code):
    found, out, err = shell(f"{COMMAND} {line}")
    assert found in (code if isinstance(code, tuple) else (code,))
    assert err == "" and b"Traceback" not in out


def test_a_file_is_not_written_into_by_what_prints_to_a_closed_stdout(tmp_path):
    """With descriptor 1 free, the first file that is opened becomes stdout."""
    line = (
        "import os, vcm.cli.display.terminal as t; t.own_streams(); "
        f"f = open({str(tmp_path / 'result')!r}, 'w'); t.say('lost'); os.write(1, b'lost'); f.write('whole')"
    )
    code, _, err = shell(f'{sys.executable} -c "{line}" >&-')
    assert (code, err) == (0, "")
    assert (tmp_path / "result").read_text() == "whole"


def test_what_an_encoding_cannot_say_is_escaped(tmp_path):
    ended = vcm("packs", "list", packs=tmp_path / "päcke", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, b"") and b"p\\xe4cke" in ended.stdout


@pytest.mark.parametrize(("megabytes", "codes"), [(60, (71,)), (300, (71,)), (1550, (0, 71))])
def test_too_little_memory_is_a_sentence_and_exit_code_71(tmp_path, megabytes, codes):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    arguments = [sys.executable, "-m", "vcm", "generate", "--steps", "1", "--out", str(tmp_path / "out")]
    ended = run(*arguments, preexec_fn=limited)
    err = ended.stderr.decode()
    assert ended.returncode in codes, err
    assert "memory" in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["teach cohort --name a", "evaluate brainldm-mini --cases cohort"])
def test_more_threads_than_a_machine_can_serve_are_refused(tmp_path, command):
    code, out, err = shell(f"{COMMAND} {command} --threads 999999", cwd=tmp_path)
    assert (code, out) == (2, b"")
    assert err.startswith("vcm: --threads 999999 is more than this machine can serve")


def test_names_of_others_reach_a_terminal_escaped(tmp_path):
    """A pack's folder and a file on the command line, named to clear the screen, forge a line and turn the text."""
    evil = "a\x1b[2J\nvcm; all is well\u202egpj"
    (tmp_path / "packs" / evil).mkdir(parents=True)
    listed = vcm("packs", "list", packs=tmp_path / "packs")
    as_json = vcm("packs", "list", "--json", packs=tmp_path / "packs")
    refused = vcm("doctor", "--condition", f"ventricles={evil}", packs=tmp_path / "packs")
    assert listed.returncode == as_json.returncode == 0 and refused.returncode == 1
    for output in (listed.stdout, listed.stderr, as_json.stdout, refused.stderr):
        text = output.decode()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert not any(line.startswith("vcm; all is well") for line in text.splitlines())
    assert "a\\x1b[2J\\nvcm; all is well\\u202egpj" in refused.stderr.decode()


def test_markup_in_a_name_is_text(tmp_path):
    (tmp_path / "[bold]a[").mkdir()
    ended = vcm("packs", "list", packs=tmp_path)
    assert ended.returncode == 0 and b"[bold]a[" in ended.stdout


def test_the_command_line_prints_nowhere_else():
    """Every word goes through `vcm.cli.display.terminal`, which escapes it."""
    for path in CLI.glob("*.py"):
        if path.name != "terminal.py":
            text = path.read_text("utf-8")
            assert not re.search(r"(?<![\w.])print\(|typer\.echo|sys\.std(out|err)\.write|rich\.console", text), path
