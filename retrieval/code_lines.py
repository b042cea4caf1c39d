"""Which lines are code: what ends a sentence elsewhere ends nothing there, and a line is never cut.

By the look of a line alone, for whatever language: a text may hold a few lines of it between prose, and
prose may tell of code.
"""

import re

_LONGEST = 1000  # characters of a line that is looked at
_CODE = re.compile(
    r"""  # blocks and statements, definitions, assignments, calls and operators; no indentation in front
    [{}\\]$ | \);$ | ^(?:[}\])]|import\ \w|from\ [\w.]+\ import\b) | ^@\w[\w.]*(?:\(.*)?$
    | ^(?:\w+\ ){0,3}(?:def|class|fn|func|function)\ \w+.*[:({)]
    | ^[\w.\[\]'"*, ]+(?::[\w\[\], |.]+)?\s(?:[-+*/%|&^]|//|<<|>>|:)?=\s
    | ^(?:if|elif|else|for|while|with|try|except|finally)\b.*:$ | ^[\w.\-]+:$
    | \w\.[A-Za-z_]\w*\( | \ (?:==|!=|&&)\ | \w::\w
    """,
    re.VERBOSE,
)
_CALL = re.compile(r"\w\((?!s\))")
_INDENTED_CODE = re.compile(
    r"""  # what is a common word at the beginning of a line of prose, or the key of a setting
    [\w)\]"'];$ | ^(?:return|raise|yield|assert|pass|break|continue|del|await|case|match)\b
    | ^(?:\#|//)\s | ^[\w.\-/]+:\s
    """,
    re.VERBOSE,
)
_INSIDE = re.compile(r"[ \t]{2}|\t|[}\])#]|//|/?\*")  # how a line behind code goes on with it
_DEFINITION = re.compile(r"@\w|(?:\w+ ){0,3}(?:def|class|fn|func|function|struct|interface) ")

_ASIDE = re.compile(r"\"[^\"]*\"?|'[^']*'|(?:#|//|/\*).*")  # strings and comments
_WORDS = re.compile(  # four words in a row, or a sentence's end and another's beginning
    r"(?:\b[a-z]{2,}[,;]? (?!=)){4}|[a-z)`]{2}[.?!] +[A-Z][a-z]*,? [a-z]"
)
_DOCSTRING = re.compile(r"""\"{3}|'{3}|[A-Z][a-z]+[ ,]+[a-z]+\b""")


def is_code(line: str, behind_code: bool) -> bool:
    """Whether a line is code, where the line before it was or was not."""
    if len(line) > _LONGEST:
        return False
    body, indented = line.strip(), line.startswith(("  ", "\t"))
    if not (indented and body.endswith((":", "{", "\\"))) and _WORDS.search(_ASIDE.sub("", body)):
        return False
    if _CODE.search(body) or (body.endswith((")", "):", ");")) and _CALL.search(body)):
        return True
    if indented and _INDENTED_CODE.search(body):
        return True
    return bool(behind_code and _INSIDE.match(line) and not _DOCSTRING.match(body))


def begins_anew(before: str, line: str) -> bool:
    """Whether a function or a type begins with a line, and not with its decorator or its class."""
    return bool(_DEFINITION.match(line.lstrip()) and not _DEFINITION.match(before.lstrip()))
