"""Packs stored again with weights in 8 bits per channel, a half of what they take in fp16."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_text
from vcm.models.layout.layout import Layout
from vcm.models.loading import load_backbone, load_control
from vcm.models.segmenter import load_segmenter
from vcm.outputs.atomic_files import atomic_path, write_text
from vcm.packs.installation import PACK_FILES, pack_folder, refuse_what_is_no_pack
from vcm.packs.manifest import FILE_NAME, TABLES, ControlManifest, LayoutManifest
from vcm.packs.manifest_reading import read_manifest, write_manifest
from vcm.packs.schema import read_document
from vcm.packs.store import Pack, open_weights
from vcm.packs.tensors.checkpoints import write_weights
from vcm.packs.tensors.eight_bits import LARGEST_ERROR, Rounded, encode


@dataclass(frozen=True)
class Shrunk:
    """Bytes of a pack's weights `before` and `after`, and what the rounding cost, by the role of each file."""

    before: int
    after: int
    files: Mapping[str, Rounded]

    @property
    def words(self) -> str:
        """The figures in a sentence or two."""
        errors = {f"{role}: {name}": error for role, file in self.files.items() for name, error in file.errors.items()}
        kept = sum(len(file.kept) for file in self.files.values())
        worst = max(errors, key=errors.__getitem__)
        return (
            f"{len(errors)} tensors in 8 bits per channel; largest relative error {errors[worst]:.2%} ({worst})."
            + f" {kept} kept as they were, for they would have lost more than {LARGEST_ERROR:.0%}." * bool(kept)
        )


def shrink_pack(pack: Pack, out: Path, *, force: bool = False) -> Shrunk:
    """Write the pack `out`, which is `pack` with its weights in 8 bits; the folder's name becomes the pack's.

    Its card and its settings go along, its signature does not. Controls of a backbone steer it in 8 bits too.
    """
    if all(file.eight_bits for role, file in pack.manifest.files.items() if role not in TABLES):
        raise VcmError(Code.BAD_REQUEST, f"The pack {pack.name} is stored in 8 bits already.")
    if out.resolve() == pack.folder.resolve():
        raise VcmError(Code.BAD_REQUEST, f"{out} is the pack itself.", "Choose another folder.")
    refuse_what_is_no_pack(out)
    beside = {path.name for path in pack.folder.iterdir() if PACK_FILES.fullmatch(path.name)} - {FILE_NAME}
    weights = {file.path for file in pack.manifest.files.values()}
    with pack_folder(out, force=force, inputs=[pack.folder / path for path in weights | beside]) as folder:
        for path in weights | beside | ({pack.manifest.card} if pack.manifest.card else set()):
            with atomic_path(folder / path) as half:
                shutil.copyfile(pack.folder / path, half)
        write_manifest(folder, {**read_document(pack.folder / FILE_NAME), "name": folder.name})
        return shrink_files(folder, remark="Figures above are of the weights before that.")


def shrink_files(folder: Path, roles: Collection[str] = (), *, remark: str = "") -> Shrunk:
    """Round the weights of the pack in `folder`, which is still being built; those of `roles`, if any are named.

    Convolutions and linear layers are rounded; embeddings, codebooks, normalisations, biases and tables never are.
    """
    pack = Pack(folder, read_manifest(folder))
    content, card = read_document(folder / FILE_NAME), pack.manifest.card
    done = {}
    for role, network in _networks(pack).items():
        file = pack.manifest.files[role]
        if file.eight_bits or (roles and role not in roles):
            continue
        rounded = encode(open_weights(pack, role), channel_axes(network))
        if rounded.errors:
            write_weights(folder / file.path, rounded.tensors)
            content["files"][role]["rounded_from"] = file.sha256
            done[role] = rounded
    if not done:
        raise VcmError(Code.BAD_REQUEST, f"No weights of the pack {pack.name} can be stored in 8 bits.")
    shrunk = Shrunk(pack.manifest.size, write_manifest(folder, content).size, done)
    if card:
        note = f"## Storage\n{', '.join(done)}: {shrunk.words} {remark}"
        write_text(folder / card, f"{read_text(folder / card).rstrip()}\n\n{note.strip()}\n")
    return shrunk


def channel_axes(network: nn.Module) -> dict[str, int]:
    """The axis of the output channels of each weight that can be rounded, by its name in the network."""
    axes = {}
    for name, module in network.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            axes[f"{name}.weight".lstrip(".")] = int(isinstance(module, _ConvTransposeNd))
    return axes


def _networks(pack: Pack) -> dict[str, nn.Module]:
    """The networks of a pack by role, with their weights: a pack that does not load is not stored again."""
    if isinstance(pack.manifest, ControlManifest):
        return {"control": load_control(pack).network}
    if isinstance(pack.manifest, LayoutManifest):
        layout = Layout.load(pack)
        return {"autoencoder": layout.autoencoder, "denoiser": layout.denoiser}
    backbone = load_backbone(pack)
    networks = {"autoencoder": backbone.autoencoder, "denoiser": backbone.denoiser}
    return networks | ({"segmenter": load_segmenter(pack)} if "segmenter" in pack.manifest.files else {})
