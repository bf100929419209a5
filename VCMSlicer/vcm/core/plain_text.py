"""Texts of others (names of files, titles, what a peer sent) in a form that no terminal takes for a command."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, separators of lines and paragraphs, controls of the writing direction, half surrogate pairs.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_UNSAFE_BUT_NEWLINES = re.compile(f"(?!\n)[{_CONTROLS}]")


def plain(text: str) -> str:
    r"""The text on one line: whatever a terminal would act on instead of showing it is escaped.

    >>> plain("Müller\x1b[2J\nexit 0\u202egpj"), plain("\ud800")
    ('Müller\\x1b[2J\\nexit 0\\u202egpj', '\\ud800')
    """
    return _UNSAFE.sub(_escaped, text)


def plain_lines(text: str) -> str:
    r"""As `plain`, with its newlines left as they are.

    >>> plain_lines("one\ntwo\x07")
    'one\ntwo\\x07'
    """
    return _UNSAFE_BUT_NEWLINES.sub(_escaped, text)


def capital(text: str) -> str:
    """The text with its first letter large and the rest as it is.

    >>> capital("left T1w scan"), capital("")
    ('Left T1w scan', '')
    """
    return text[:1].upper() + text[1:]


def is_readable(text: str) -> bool:
    """Whether a text can be a name or a path: it holds neither NUL nor half a surrogate pair."""
    # Half a surrogate pair stands for a byte that is no Unicode: file names with one abort the process in ITK.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
