"""Hostile lines to one worker: each is answered or passed over, and what was asked properly is still done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from case import Case
from mutation import HOSTILE_TEXT, json_damaged, json_text, value
from process import CONTROL, PATIENCE, environment
from vcm import protocol

LINES = 100
"""Hostile lines to one worker, which takes a second or two to start."""

ALL_PATIENCE = 3 * PATIENCE
"""Seconds until all lines are answered: among them are several registrations, one after the other."""


def run(case: Case) -> tuple[int, list[str]]:
    """A worker of its own, a hundred hostile lines, and proper requests before, among and after them."""
    rng = case.rng
    errors = (case.folder / "stderr.txt").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "vcm.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=case.folder,
        env=environment(case.home),
        start_new_session=True,
    )
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    found: list[str] = []
    try:
        job = protocol.Generate(
            "the-job", str(case.folder / "out"),
            (protocol.ConditionInput("ventricles", str(case.user / "ventricles.nii.gz")),),
            pack="micro", control="micro-ventricles", seed=1, steps=6,
        )  # fmt: skip
        _send(process, protocol.encode(job))
        for number in range(LINES):
            _send(process, hostile_line(rng, case))
            if number % 25 == 0:
                _send(process, protocol.encode(protocol.ListPacks(f"proper-{number}")))
        _send(process, protocol.encode(protocol.ListPacks("the-last")))
        until = time.monotonic() + ALL_PATIENCE
        wanted = {"the-job", "the-last"} | {f"proper-{number}" for number in range(0, LINES, 25)}
        while (missing := wanted - ended(lines)) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            found.append(f"the worker ended with {process.returncode} in the middle of the work")
        elif missing:
            found.append(f"no ending within {ALL_PATIENCE:.0f} s for {sorted(missing)}")
        elif not any(b'"generated"' in line and b'"the-job"' in line for line in lines):
            found.append("the job that was running came to no result")
    except BrokenPipeError:
        found.append("the worker closed its input in the middle of the work")
    finally:
        found += _end(process)
        reader.join(5)
        errors.close()
    found += told_badly(lines, (case.folder / "stderr.txt").read_bytes())
    return LINES, found


def hostile_line(rng: random.Random, case: Case) -> bytes:
    """A line that is nearly a request, or nothing like one."""
    kind = rng.random()
    if kind < 0.1:
        return rng.randbytes(rng.randint(0, 300)).replace(b"\n", b"") + b"\n"
    if kind < 0.13:
        return b'{"type":"list-packs","version":1,"id":"' + b"x" * rng.choice((5_000, 5_000_000)) + b'"}\n'
    user = [str(path) for path in case.user.iterdir()]
    request: dict[str, Any] = rng.choice(
        [
            {"type": "examine", "conditions": [{"name": "ventricles", "path": rng.choice(user)}], "pack": "micro",
             "prepared_dir": rng.choice([str(case.user), str(case.folder / "seen"), None])},
            {"type": "segment", "image": rng.choice(user), "out": rng.choice([*user, str(case.user)]), "pack": "micro"},
            {"type": "generate", "out": rng.choice([str(case.user), *user]), "pack": "micro", "steps": 1,
             "preview_every": rng.choice([0, 1]), "preview_dir": rng.choice([None, str(case.user), *user])},
            {"type": "preflight", "out": rng.choice(user)},
            {"type": "list-packs"},
            {"type": "warm", "pack": "micro"},
            {"type": "cancel"},
            {"type": "register", "image": rng.choice(user), "out": rng.choice([*user, str(case.user)])},
            {"type": str(rng.choice(HOSTILE_TEXT))},
        ]
    )  # fmt: skip
    request = {**request, "version": 1, "id": rng.choice([f"h{rng.random()}", *HOSTILE_TEXT[:14]])}
    if request["id"] in ("the-job", "the-last"):
        request["id"] = "other"
    if rng.random() < 0.6:
        request = json_damaged(rng, request)
    if isinstance(request, dict) and rng.random() < 0.1:
        request[str(rng.choice(HOSTILE_TEXT))] = value(rng)
    if isinstance(request, dict) and request.get("type") == "shutdown":
        request["type"] = "warm"
    if isinstance(request, dict) and request.get("type") == "cancel" and request.get("id") == "the-job":
        request["id"] = "other"
    return json_text(rng, request).replace(b"\n", b" ") + b"\n"


def ended(lines: list[bytes]) -> set[str]:
    """The ids of the requests that have come to an end."""
    found = set()
    for line in list(lines):
        if any(f'"type":"{name}"'.encode() in line for name in ("packs", "generated", "failed", "cancelled")):
            try:
                found.add(json.loads(line).get("id"))
            except ValueError:
                continue
    return {name for name in found if isinstance(name, str)}


def told_badly(lines: list[bytes], errors: bytes) -> list[str]:
    """What the worker said that a client or a terminal cannot bear."""
    found = []
    for line in lines:
        try:
            protocol.decode(line)
        except protocol.ProtocolError as error:
            found.append(f"said a line that its own protocol refuses: {error.sentence}: {line[:200]!r}")
        if CONTROL.search(line):
            found.append(f"said a control character: {line[:200]!r}")
        if b'"internal"' in line:
            found.append(f"called it an internal error: {line[:300]!r}")
    if b"Traceback" in errors:
        found.append(f"wrote a traceback: {errors[-400:]!r}")
    if CONTROL.search(errors):
        found.append(f"wrote a control character to stderr: {CONTROL.search(errors)[0]!r}")
    return found[:5]


def _send(process: subprocess.Popen, line: bytes) -> None:
    process.stdin.write(line)
    process.stdin.flush()


def _end(process: subprocess.Popen) -> list[str]:
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(20)
        return []
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return ["the worker did not end when its input was closed"]
