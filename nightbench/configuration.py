"""How much there is to write: lines of configuration and code, counted alike for everyone."""

import ast
import tokenize
from io import StringIO
from pathlib import PurePath

__all__ = ["configuration_lines"]


def configuration_lines(name: str, text: str) -> int:
    """Lines that say something: neither blank nor comment nor, in Python, documentation."""
    if PurePath(name).suffix != ".py":
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())
    documentation = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    said: set[int] = set()
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type not in _SILENT:
            said.update(range(token.start[0], token.end[0] + 1))
    return len(said - documentation)


_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}
