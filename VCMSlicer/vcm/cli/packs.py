"""`vcm packs`: see, check, import, get and remove packs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli.display.packs import (
    available_facts,
    download_bars,
    how_to_get,
    in_words,
    installed_facts,
    installed_row,
    pack_details,
    print_table,
    size_in_words,
    status_line,
)
from vcm.cli.display.terminal import say, say_json, say_on_stderr
from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from vcm.packs.acquiring import Consent
    from vcm.packs.catalogue import CatalogueEntry
    from vcm.packs.store import InstalledPack, Pack

app = typer.Typer(
    no_args_is_help=True,
    help="The models: see which there are, check them, import or download more.",
)

Name = Annotated[str, typer.Argument(help="The pack's name, or the path of its folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a pack of that name.")]


@app.command("list", epilog="Example: vcm packs list --json")
def list_command(as_json: AsJson = False) -> None:
    """List the installed packs, and those that can be had."""
    from vcm.packs.catalogue import read_catalogue
    from vcm.packs.store import list_packs, packs_folder

    entries = list_packs()
    installed = {entry.name for entry in entries}
    available = [entry for entry in read_catalogue() if entry.name not in installed]
    if as_json:
        say_json(
            {
                "folder": str(packs_folder()),
                "packs": [installed_facts(entry) for entry in entries],
                "available": [available_facts(entry) for entry in available],
            }
        )
        return
    rows = [installed_row(entry) for entry in entries]
    rows += [
        (a.name, a.kind, a.backbone or "", size_in_words(a.expected_bytes), f"not installed: {how_to_get(a)}")
        for a in available
    ]
    print_table(("name", "kind", "steers", "size", "state"), rows)
    say(f"Folder of your packs: {packs_folder()}")


@app.command("info", epilog="Example: vcm packs info brainldm-mini")
def info_command(name: Name, as_json: AsJson = False) -> None:
    """Show what a pack is, what it takes, and its licence."""
    from vcm.packs.catalogue import find_entry, read_catalogue
    from vcm.packs.manifest import FILE_NAME
    from vcm.packs.schema import read_document
    from vcm.packs.store import InstalledPack, find_pack, list_packs

    names = {entry.name for entry in list_packs()}
    if name not in names and name in {entry.name for entry in read_catalogue()}:
        facts = available_facts(find_entry(name))
    else:
        pack = find_pack(name)
        facts = installed_facts(InstalledPack(pack.name, pack.folder, pack))
        facts |= {"manifest": read_document(pack.folder / FILE_NAME)} if as_json else pack_details(pack)
    if as_json:
        say_json(facts)
        return
    print_table(("field", "value"), [(key.replace("_", " "), in_words(value)) for key, value in facts.items()])


@app.command("sign", epilog="Example: vcm packs sign my-ventricles --key private.pem")
def sign_command(
    name: Name,
    key: Annotated[Path, typer.Option(help="Your private key: an elliptic curve's, in PEM.", show_default=False)],
) -> None:
    """Sign every file of a pack with your private key, for those who have your public key."""
    from vcm.packs.signing import sign_pack
    from vcm.packs.store import find_pack

    pack = find_pack(name)
    with status_line(f"signing {pack.name}"):
        signature = sign_pack(pack, key)
    say_on_stderr(f"Signed {pack.name}: {signature}")


@app.command(
    "verify", epilog="Example: vcm packs verify brainldm-mini. Or: vcm packs verify my-ventricles --key publisher.pem"
)
def verify_command(
    names: Annotated[list[str] | None, typer.Argument(help="Packs to check; all, if none is named.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="The publisher's public key: also check the signatures of the packs named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare every byte of packs with the hashes in their manifests and, with a key, with their signature."""
    from vcm.packs.store import InstalledPack, find_pack, list_packs

    if key is not None and not names:
        raise VcmError(Code.BAD_REQUEST, "Name the packs that this key has signed.", "vcm packs verify NAME --key KEY")
    named = [InstalledPack(pack.name, pack.folder, pack) for pack in map(find_pack, names or [])]
    entries = named or list_packs()
    problems = {entry.name: _verify(entry, key) for entry in entries}
    good = "whole, and signed with this key" if key else "whole"
    if as_json:
        results = [
            {"name": name, "ok": error is None, "problem": error.as_dict() if error else None}
            for name, error in problems.items()
        ]
        say_json({"ok": not any(problems.values()), "packs": results})
        if any(problems.values()):
            raise typer.Exit(1)
        return
    print_table(
        ("name", "state"),
        [(plain(name), plain(error.sentence) if error else good) for name, error in problems.items()],
    )
    for error in problems.values():
        if error:
            raise error


@app.command(
    "import",
    epilog="Example: vcm packs import brainldm --autoencoder autoencoder.pt --denoiser model.pt "
    "--control vcm.pt. Or, for an installed backbone: vcm packs import my-vcm --control vcm.pt --backbone brainldm",
)
def import_command(
    name: Annotated[str, typer.Argument(help="The name of the new pack.", show_default=False)],
    autoencoder: Annotated[Path | None, typer.Option(help="The autoencoder's checkpoint.")] = None,
    denoiser: Annotated[Path | None, typer.Option(help="The diffusion model's checkpoint.")] = None,
    control: Annotated[Path | None, typer.Option(help="A VCM's checkpoint.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The installed pack that --control alone steers.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration (JSON), if not the full-size one.")] = None,
    family: Annotated[str | None, typer.Option(help="The family of the backbone.", show_default="BrainLDM's")] = None,
    force: Force = False,
) -> None:
    """Make a pack from published checkpoints (.pt, .pth, .safetensors), which are never executed."""
    from vcm.packs.importing import import_control, import_family, import_published
    from vcm.packs.schema import read_document
    from vcm.packs.store import find_pack

    options: dict[str, Any] = {"force": force}
    if config is not None:
        options |= {"config": read_document(config), "config_source": str(config)}
    whole = autoencoder is not None and denoiser is not None and backbone is None
    alone = control is not None and backbone is not None and autoencoder is None and denoiser is None
    if not (whole or alone):
        raise VcmError(
            Code.BAD_REQUEST,
            "An import needs --autoencoder and --denoiser (and perhaps --control), or else --control and --backbone.",
            "See: vcm packs import --help",
        )
    with status_line(f"importing {name}") as on_step:
        if family is not None and autoencoder is not None and denoiser is not None and control is None:
            packs = [
                import_family(name, family, autoencoder=autoencoder, denoiser=denoiser, on_step=on_step, **options)
            ]
        elif autoencoder is not None and denoiser is not None:
            packs = import_published(
                name, autoencoder=autoencoder, denoiser=denoiser, control=control, on_step=on_step, **options
            )
        else:
            steered = find_pack(str(backbone))
            packs = [import_control(name, Path(str(control)), steered, on_step=on_step, **options)]
    _say_installed(packs)


@app.command(
    "new",
    epilog="Example: vcm packs new mine --family meddiffusion --config mine.json; "
    "then: vcm train autoencoder --backbone mine …",
)
def new_command(
    name: Annotated[str, typer.Argument(help="The name of the new pack.", show_default=False)],
    family: Annotated[str, typer.Option(help="The family of the backbone.", show_default=False)],
    config: Annotated[Path, typer.Option(help="What its networks are (JSON).", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of the random weights.")] = 1,
    force: Force = False,
) -> None:
    """Make a backbone with random weights, for a training from nothing."""
    from vcm.packs.importing import new_backbone
    from vcm.packs.schema import read_document

    with status_line(f"making {name}"):
        given = read_document(config)
        pack = new_backbone(name, family, given, config_source=str(config), seed=seed, force=force)
    _say_installed([pack])


@app.command(
    "get",
    epilog="Example: vcm packs get brainldm --accept-licence. Offline: vcm packs get brainldm --from ~/Downloads",
)
def get_command(
    name: Annotated[str, typer.Argument(help="A name from the catalogue: vcm packs list.", show_default=False)],
    given: Annotated[Path | None, typer.Option("--from", help="The published file, or the folder of files.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without being asked.")
    ] = False,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Take a file of which no hash is known.")
    ] = False,
    proxy: Annotated[str | None, typer.Option(help="Proxy, if not that of the environment: http://host:port.")] = None,
    force: Force = False,
) -> None:
    """Download a pack of the catalogue, or make it from local files of the same kind."""
    from vcm.packs.acquiring import Consent, acquire, refuse_manual
    from vcm.packs.catalogue import find_entry
    from vcm.packs.installation import check_name

    entry = find_entry(name)
    check_name(entry.name, force=force)
    if given is None:
        refuse_manual(entry)
    consent = _ask(entry, Consent(accept_licence, accept_unverified))
    with download_bars() as (on_step, progress):
        try:
            packs = acquire(entry, consent, given=given, proxy=proxy, force=force, on_step=on_step, progress=progress)
        except KeyboardInterrupt:
            raise VcmError(
                Code.CANCELLED, "The download was stopped.", "The same command goes on from where it was."
            ) from None
    _say_installed(packs)


@app.command("calibrate", epilog="Example: vcm packs calibrate med scan1.nii.gz scan2.nii.gz scan3.nii.gz")
def calibrate_command(
    name: Annotated[str, typer.Argument(help="One of your packs.", show_default=False)],
    scans: Annotated[list[Path], typer.Argument(help="Scans of the kind that the model makes.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Find a setting of a pack that nobody has published, such as its scale of intensities, on scans of your own."""
    from vcm.runs.calibrating import calibrate_pack

    with status_line(f"calibrating {name}") as on_step:
        found = calibrate_pack(name, scans, device, on_step)
    print_table(
        (found.setting.replace("_", " "), "error"),
        [(f"{value:g}", f"{error:.4f}") for value, error in found.errors.items()],
    )
    say_on_stderr(f"{name}: {found.words}")


@app.command("shrink", epilog="Example: vcm packs shrink brainldm --out packs/brainldm-8bit")
def shrink_command(
    name: Name,
    out: Annotated[Path, typer.Option(help="The new pack's folder; its name becomes the pack's.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed by hand.")] = False,
) -> None:
    """Store a pack again with its weights in 8 bits per channel: half of the bytes of fp16, nearly the same images."""
    from vcm.models.shrinking import shrink_pack
    from vcm.packs.store import find_pack

    pack = find_pack(name)
    with status_line(f"storing {pack.name} in 8 bits"):
        shrunk = shrink_pack(pack, out, force=force)
    say(f"{out} holds the pack {out.name}: {shrunk.before:,} bytes before, {shrunk.after:,} after. {shrunk.words}")


@app.command("remove", epilog="Example: vcm packs remove brainldm")
def remove_command(
    name: Annotated[str, typer.Argument(help="One of your packs, whole or broken.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete one of your packs. Those that came with the program stay."""
    from vcm.packs.installation import remove

    if not yes and _interactive():
        typer.confirm(plain(f"Delete the pack {name}?"), abort=True, err=True)
    remove(name)
    say_on_stderr(f"Removed {name}.")


def _verify(entry: InstalledPack, key: Path | None) -> VcmError | None:
    from vcm.packs.signing import verify_signature
    from vcm.packs.store import verify

    if entry.pack is None:
        return entry.problem
    try:
        with status_line(f"checking {entry.name}"):
            verify(entry.pack)
            if key is not None:
                verify_signature(entry.pack, key)
    except VcmError as error:
        return error
    return None


def _ask(entry: CatalogueEntry, consent: Consent) -> Consent:
    """Complete the consent by questions, where somebody is there to answer them."""
    from vcm.packs.acquiring import Consent

    if not _interactive():
        return consent
    licence, unverified = consent.licence, consent.unverified
    if entry.licence.must_accept and not licence:
        for line in (entry.title, f"Licence: {entry.licence.name} {entry.licence.url}", entry.licence.summary):
            say_on_stderr(line)
        licence = typer.confirm("Do you accept this?", err=True)
    if entry.unverifiable and licence and not unverified:
        names = " and ".join(file.filename for file in entry.unverifiable)
        where = f"what {entry.page} offers" if entry.automatic else "your copy of it"
        unverified = typer.confirm(f"No hash of {names} is known. Do you trust {where}?", err=True)
    return Consent(licence, unverified)


def _say_installed(packs: list[Pack]) -> None:
    for pack in packs:
        say_on_stderr(f"Installed {pack.name} in {pack.folder}")


def _interactive() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
