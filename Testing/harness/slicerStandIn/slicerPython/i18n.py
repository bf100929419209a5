"""`slicer.i18n`: texts as they are written; no language but English here."""

import inspect


def getContext(sourceFile: str) -> str:
    """Name of the translation context of a file."""
    from pathlib import Path

    return Path(sourceFile).stem


def translate(context: str, text: str, disambiguation: str | None = None, n: int = -1) -> str:
    """Translate `text` in `context`."""
    import slicer

    if not isinstance(text, str):
        raise TypeError(f"a text to translate is a str, not {type(text).__name__}")
    return slicer.app.translate(context, text)


def tr(text: str) -> str:
    """Translate `text` in the context of the calling file."""
    frame = inspect.currentframe().f_back
    return translate(getContext(frame.f_code.co_filename), text)
