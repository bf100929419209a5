"""`slicer.i18n` in brief: texts go through `slicer.app.translate`, where a test may hear of them."""

import inspect
from pathlib import Path


def translate(context: str, text: str) -> str:
    """Translate `text` in `context`."""
    import slicer

    return slicer.app.translate(context, text)


def tr(text: str) -> str:
    """Translate `text` in the context of the calling file: the name of its package, if it is in one, and its own."""
    source = Path(inspect.currentframe().f_back.f_code.co_filename)
    package = f"{source.parent.name}." if (source.parent / "__init__.py").is_file() else ""
    return translate(package + source.stem, text)
