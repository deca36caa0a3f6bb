"""Which server passed which check: kept between runs, and written as a table."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from nightbench.server import ServerSpec

NOT_ASKED = "\N{EN DASH}"
"""The check is not made for this server, or was not chosen."""

SERVERS = Path(__file__).parents[2] / "servers"
_IMPORTS = re.compile(r"^\s*(?:from|import) servers\b.*", re.MULTILINE)


def code_of(spec: ServerSpec) -> str:
    """A hash of the server's folder, and of what it shares: what passed before counts while that stays the same."""
    files = sorted({*SERVERS.glob("*.py"), *(path for folder in _folders(spec) for path in _files(folder))})
    joined = b"\0".join(part for path in files for part in (path.name.encode(), path.read_bytes()))
    return sha256(joined).hexdigest()[:12]


def _folders(spec: ServerSpec) -> Iterable[Path]:
    """The server's own, and those of other servers that its code imports or, of the arena, puts on its path."""
    pending = [spec.folder, *([SERVERS / "arena_common"] if spec.name.startswith("arena_") else [])]
    seen: set[Path] = set()
    while pending:
        folder = pending.pop()
        if folder in seen:
            continue
        seen.add(folder)
        imports = (line for path in folder.rglob("*.py") for line in _IMPORTS.findall(path.read_text(encoding="utf-8")))
        named = {SERVERS / word for line in imports for word in re.findall(r"\w+", line)}
        pending += [other for other in named if other.is_dir()]
    return seen


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@dataclass
class Row:
    """One server: its code, and the outcome of every test by check and test. An empty outcome is a pass."""

    code: str
    checks: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, check: str, test: str, failure: str) -> None:
        self.checks.setdefault(check, {})[test] = failure

    def shown(self, check: str) -> str:
        outcomes = self.checks.get(check)
        if not outcomes:
            return NOT_ASKED
        return "FAILS" if any(outcomes.values()) else "ok"

    def passed(self, tests: Iterable[str]) -> bool:
        """Whether each of these tests was run and passed."""
        known = {test: failure for outcomes in self.checks.values() for test, failure in outcomes.items()}
        return all(known.get(test) == "" for test in tests)


class Matrix:
    """All servers, in a file that a later run goes on with."""

    def __init__(self, folder: Path, specs: Mapping[str, ServerSpec]) -> None:
        self.path = folder / "conformance.md"
        self._store = folder / "conformance.json"
        self._rows = {name: Row(code_of(spec)) for name, spec in specs.items()}
        for name, kept in self._read().items():
            if name in self._rows and kept.get("code") == self._rows[name].code:
                self._rows[name].checks = kept["checks"]

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._store.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def row(self, server: str) -> Row:
        return self._rows[server]

    def save(self) -> None:
        self._store.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: {"code": row.code, "checks": row.checks} for name, row in self._rows.items() if row.checks}
        self._store.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def write(self, columns: Iterable[str], absent: Mapping[str, tuple[str, ...]]) -> str:
        """The table as Markdown, in its file as well. ``absent`` says what keeps a server from running here."""
        known = {check for row in self._rows.values() for check in row.checks}
        shown = [*columns, *sorted(known.difference(columns))]
        lines = [f"| server | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
        for name, row in self._rows.items():
            if name in absent:
                lines.append(f"| {name} | needs {', '.join(absent[name])} {'|' * len(shown)}")
            elif not row.checks:
                lines.append(f"| {name} | not run {'|' * len(shown)}")
            else:
                lines.append(f"| {name} | {' | '.join(row.shown(check) for check in shown)} |")
        lines += ["", *(f"- {line}" for line in self._failures())]
        text = "\n".join(lines).rstrip() + "\n"
        self.path.write_text(text, encoding="utf-8")
        return text

    def _failures(self) -> Iterable[str]:
        for name, row in self._rows.items():
            where: dict[str, dict[str, None]] = {}
            for check, outcomes in row.checks.items():
                for failure in filter(None, outcomes.values()):
                    where.setdefault(failure, {})[check] = None
            for failure, checks in where.items():
                yield f"**{name}**, {', '.join(checks)}: {failure}"
