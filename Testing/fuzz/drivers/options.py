"""Every option of every command, with values nobody meant."""

from __future__ import annotations

import random
from typing import Any

from case import Case
from mutation import HOSTILE_NUMBERS, HOSTILE_TEXT
from process import complaints, forked

LONGEST = 100_000
"""Characters of one argument; the system itself takes no more than 128 KiB."""

LEFT_OUT = {("packs", "get"), ("packs", "check-space")}
"""Commands that take minutes, or ask the network, by what they are for."""


def commands() -> dict[tuple[str, ...], list[Any]]:
    """Every command's words with its parameters, as the program itself declares them."""
    import typer.main
    import vcm.cli

    found: dict[tuple[str, ...], list[Any]] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*words, name))
        if not hasattr(command, "commands") and words not in LEFT_OUT:
            found[words] = [parameter for parameter in command.params if parameter.name != "help"]

    walk(typer.main.get_command(vcm.cli.app), ())
    return found


COMMANDS = commands()


def run(case: Case) -> tuple[int, list[str]]:
    """One command line."""
    rng = case.rng
    words = rng.choice(list(COMMANDS))
    arguments = list(words)
    # Half of the command lines are sound but for one value, so that they come further than the reading of options.
    sound = rng.random() < 0.5
    odd = rng.choice(COMMANDS[words]).name if COMMANDS[words] else ""
    for parameter in COMMANDS[words]:
        option = next((name for name in parameter.opts if name.startswith("--")), None)
        wanted = (1.0 if parameter.required else 0.05) if sound else (0.9 if parameter.required else 0.25)
        if rng.random() > wanted and not (sound and parameter.name == odd):
            continue
        calm = sound and parameter.name != odd
        if option is None:
            arguments.append(_value(rng, case, parameter.name, calm))
        elif getattr(parameter, "is_flag", False):
            arguments.append(option)
        else:
            for _ in range(1 if rng.random() < 0.9 else 3):
                arguments += [option, _value(rng, case, parameter.name, calm)]
    arguments = [_argument(text) for text in arguments]
    if words == ("generate",) and "--steps" not in arguments:
        arguments += ["--steps", "1", "--no-montage"]
    if rng.random() < 0.05:
        rng.shuffle(arguments)
    ended = forked(arguments, case.folder, case.home)
    return 1, complaints(ended, own_memory=case.own_memory)


def _value(rng: random.Random, case: Case, name: str, calm: bool) -> str:
    """A value: one that fits the parameter, one of the user's files, or one that nobody meant; the first if `calm`."""
    fitting = {
        "condition": [f"ventricles={case.user / 'ventricles.nii.gz'}", f"ventricles={case.user / 'thesis.txt'}"],
        "pack": ["micro"],
        "backbone": ["micro"],
        "control": ["micro-ventricles"],
        "name": ["micro", "fresh"],
        "steps": ["1", "2"],
        "samples": ["1", "2"],
        "seed": ["1", str(2**63 - 1)],
        "device": ["cpu", "cuda", "auto"],
        "threads": ["1", "999999"],
        "minutes": ["0"],
        "sex": ["F", "M"],
        "age": ["70"],
        "out": [str(case.folder / "new")],
        "sampler": ["ddim", "dpm++", "dpm++3m", "unipc"],
        "precision": ["fp32", "auto"],
        "memory": ["auto", "low"],
        "segmenter": ["auto", "none"],
        "cases": [str(case.user / "results.csv")],
    }.get(name, [])
    kind = rng.random()
    if fitting and (calm or kind < 0.6):
        return rng.choice(fitting)
    if kind < 0.75:
        return str(rng.choice([case.folder / "new", case.user, *case.user.iterdir(), case.folder / "no" / "such.nii"]))
    if kind < 0.85:
        return str(rng.choice(HOSTILE_NUMBERS))
    text = rng.choice(HOSTILE_TEXT)
    return f"{rng.choice(('ventricles', 'age', 'x', ''))}={text}" if rng.random() < 0.5 else text


def _argument(text: str) -> str:
    """What the system can hand to a process: no NUL, and not too long."""
    return (
        text.replace("\x00", "")
        .encode("utf-8", "surrogateescape" if "\ud800" not in text else "replace")
        .decode("utf-8", "surrogateescape")[:LONGEST]
    )
