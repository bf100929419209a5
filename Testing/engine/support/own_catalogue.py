"""A catalogue of the tests' own: a backbone to be downloaded from their server, a control to be had by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from file_server import Site
from sample_packs import CONFIG

LICENCE = {"name": "Some-1.0", "url": "https://example.org", "summary": "Be kind.", "must_accept": True}
SHARED = {"title": "Title", "description": "Words.", "licence": LICENCE, "config": CONFIG}


def write_catalogue(path: Path, site: Site, published: dict[str, Path]) -> Path:
    """`remote` and `by-hand`, made of published checkpoints by role, as `sample_packs.make_checkpoints` has them."""
    entries: list[dict[str, Any]] = [
        {
            "name": "remote",
            "kind": "backbone",
            "automatic": True,
            "files": [_known(role, site, published[role]) for role in ("autoencoder", "denoiser")],
            **SHARED,
        },
        {
            "name": "by-hand",
            "kind": "control",
            "backbone": "remote",
            "automatic": False,
            "page": "https://example.org/page",
            "files": [{"role": "control", "filename": published["control"].name, "also_called": ["renamed.pt"]}],
            **SHARED,
        },
    ]
    path.write_text(json.dumps({"format": 1, "entries": entries}))
    return path


def _known(role: str, site: Site, file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    known = {"url": site.url(f"/{file.name}"), "size": len(content), "md5": hashlib.md5(content).hexdigest()}
    return {"role": role, "filename": file.name, **known}
