"""Training recipes: every shipped one is read, its commands exist, and a stopped one resumes where it was."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import train_recipe
import typer
from train_recipe import DONE, Step, read_recipe, run_steps, steps_of
from vcm.cli import app
from vcm.training.kinds import SETTINGS_OF

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "training" / "recipes").glob("*.toml"))


def steps(recipe, work):
    return list(steps_of(read_recipe(recipe), ROOT / "training", Path("maps"), work, "a CPU"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_command_line_takes_every_command_of_a_shipped_recipe(recipe, tmp_path):
    for step in steps(recipe, tmp_path):
        command, rest = typer.main.get_command(app), list(step.arguments)
        while rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        chosen = command.make_context("vcm", rest)  # parses, and refuses an option that there is not
        assert chosen.params


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_its_settings_are_of_their_kind_and_its_packs_and_cohorts_are_made_before_they_are_used(recipe, tmp_path):
    read = read_recipe(recipe)
    cohorts, packs = {cohort.name for cohort in read.cohorts}, {"", *(each.name for each in read.backbones)}
    known = packs | {"whole-head", "labelmaps", "brainldm-mini"}
    assert {cohort.grid for cohort in read.cohorts} <= known
    for training in read.trainings:
        assert {training.cases, training.held_out} <= cohorts and training.backbone in packs
        for name in training.settings:
            settings = SETTINGS_OF[training.kind].read(ROOT / "training" / name)
            assert settings.kind == training.kind
            assert training.backbone or settings.backbone in known | packs
        packs.add(training.pack)


def test_a_second_part_starts_from_the_first(tmp_path):
    second = next(
        s for s in steps(ROOT / "training" / "recipes" / "default.toml", tmp_path) if "--start" in s.arguments
    )
    start = second.arguments[second.arguments.index("--start") + 1]
    assert (start, str(second.makes)) == tuple(
        str(tmp_path / "runs" / f"whole-heads-default-{name}") for name in ("autoencoder", "autoencoder-second")
    )


def test_no_two_recipes_train_other_cases_in_one_folder(tmp_path):
    cases = {}
    for recipe in RECIPES:
        for step in steps(recipe, tmp_path):
            if "--cases" in step.arguments:
                cases.setdefault(step.makes, set()).add(step.arguments[step.arguments.index("--cases") + 1])
    assert len(cases) > 10 and all(len(one) == 1 for one in cases.values())


def test_a_training_of_8_bits_is_exported_so_and_the_others_as_ever(tmp_path):
    recipe = read_recipe(ROOT / "training" / "recipes" / "default.toml")
    first, *rest = (replace(training, bits=16) for training in recipe.trainings)
    chosen = replace(recipe, trainings=(replace(first, bits=8), *rest))
    exports = [s.arguments for s in steps_of(chosen, ROOT, Path("maps"), tmp_path, "a CPU") if "--run" in s.arguments]
    assert exports[0][-2:] == ("--bits", "8") and not any("--bits" in export for export in exports[1:])


@pytest.fixture
def recorded(tmp_path):
    """Four steps that each write a file, and a way to run them that fails at the step named."""
    settings = tmp_path / "settings.toml"
    settings.write_text("steps = 1\n")
    made = [Step(name, (name, "--out", f"{tmp_path} x/{name}"), tmp_path / name, settings) for name in "abcd"]

    def run(fails_at=None):
        ran = []

        def call(arguments):
            ran.append(arguments[0])
            (tmp_path / arguments[0]).mkdir(exist_ok=True)
            return 3 if arguments[0] == fails_at else 0

        try:
            run_steps(made, tmp_path / "work", call)
        except SystemExit as end:
            return ran, end.code
        return ran, 0

    return run, settings, tmp_path


def test_what_is_done_is_skipped_and_what_failed_is_run_again(recorded):
    run, _, _ = recorded
    assert run(fails_at="c") == (["a", "b", "c"], 3)
    assert run() == (["c", "d"], 0)
    assert run() == ([], 0)


def test_what_follows_on_other_settings_or_a_missing_folder_is_run_again(recorded):
    run, settings, folder = recorded
    run()
    settings.write_text("steps = 2\n")
    assert run() == (["a", "b", "c", "d"], 0)
    (folder / "c").rmdir()
    assert run() == (["c", "d"], 0)
    assert (folder / "work" / DONE).is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data = 1", "field licence is missing"), ("nothing = ", "is not a recipe"),
        ('data = ""\nlicence = ""\ncommand = ""\ncohorts = []\ntrainings = [{kind = "control"}]', "settings"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused_by_name(text, said, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(SystemExit, match=said) as ended:
        read_recipe(tmp_path / "mine.toml")
    assert "mine.toml" in str(ended.value)


def test_a_dry_run_prints_commands_and_a_missing_folder_of_label_maps_is_named(tmp_path, monkeypatch, capsys):
    recipe = str(ROOT / "training" / "recipes" / "micro.toml")
    arguments = ["train_recipe.py", recipe, "--labelmaps", "no maps", "--work", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, "--dry-run"])
    train_recipe.main()
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 10 and shlex.split(shown[0])[:5] == ["vcm", "cohort", "make", "--labelmaps", "no maps"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="no maps holds no labels"):
        train_recipe.main()
    assert list(tmp_path.iterdir()) == []
