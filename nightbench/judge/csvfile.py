"""Series of anyone's in a CSV file: ``series,night,value[,direction]``, a header line first, UTF-8."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightbench.errors import UsageError, nearest
from nightbench.judge.series import Direction, Point

__all__ = ["Given", "parse", "read"]

REQUIRED = ("series", "night", "value")
DIRECTION = "direction"


@dataclass(frozen=True, slots=True)
class Given:
    """One series of the file, its nights in the file's order."""

    series: str
    direction: Direction
    points: tuple[Point, ...]


def read(path: Path) -> tuple[Given, ...]:
    """The series of the file at ``path`` in the order of their first lines; `UsageError` if it cannot be used."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> tuple[Given, ...]:
    """``name`` is what errors call the text. Other columns than those known are ignored; blank lines, too.

    ``direction`` is ``higher`` or ``lower``: which way is better. Where the column or the entry is missing it is
    ``higher``; the lines of one series must agree.
    """
    points: dict[str, dict[str, Point]] = {}
    directions: dict[str, Direction] = {}
    for line, row in _rows(text, name):
        where = f"{name}, line {line}"
        series, night = _filled(row, "series", where), _filled(row, "night", where)
        known = points.setdefault(series, {})
        if night in known:
            raise UsageError(
                f"{where}, column 'night': {night!r} is there already for series {series!r}; keep one value a night"
            )
        known[night] = Point(night, _value(row, where))
        direction = _direction(row, where)
        if directions.setdefault(series, direction) is not direction:
            raise UsageError(
                f"{where}, column 'direction': {direction.value!r} for series {series!r}, whose first line says "
                f"{directions[series].value!r}; give one direction a series"
            )
    if not points:
        raise UsageError(f"{name}: there is no value in it; below the header, give one line a series and night")
    return tuple(Given(series, directions[series], tuple(known.values())) for series, known in points.items())


def _rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each line that is not blank, by its number and by column."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if header is None:
                header = _header(stripped, name)
                continue
            if len(stripped) != len(header):
                raise UsageError(
                    f"{name}, line {reader.line_num}: {len(stripped)} columns, but the header has {len(header)}; "
                    "quote values that have commas in them"
                )
            yield reader.line_num, dict(zip(header, stripped, strict=True))
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: {error}; write it as comma-separated values") from error
    if header is None:
        raise UsageError(f"{name}: is empty; its first line must be: series,night,value")


def _header(cells: list[str], name: str) -> list[str]:
    header = [cell.lower() for cell in cells]
    for column in REQUIRED:
        if column not in header:
            raise UsageError(
                f"{name}, line 1: no column {column!r} among {', '.join(map(repr, cells))}; "
                "the first line must be: series,night,value"
            )
    twice = next((cell for cell in header if cell and header.count(cell) > 1), None)
    if twice is not None:
        raise UsageError(f"{name}, line 1: column {twice!r} is there twice; name each column once")
    return header


def _filled(row: Mapping[str, str], column: str, where: str) -> str:
    if not row[column]:
        raise UsageError(f"{where}, column {column!r}: nothing there; fill it or remove the line")
    return row[column]


def _value(row: Mapping[str, str], where: str) -> float:
    text = _filled(row, "value", where)
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"{where}, column 'value': {text!r} is no number; write it with a decimal point and no unit"
        ) from None
    if not math.isfinite(value):
        raise UsageError(
            f"{where}, column 'value': {text!r} is no finite number; remove the line if nothing was measured"
        )
    if value <= 0.0:
        raise UsageError(
            f"{where}, column 'value': {text} is not above 0, and levels are compared as ratios; "
            "remove the line if nothing was measured"
        )
    return value


def _direction(row: Mapping[str, str], where: str) -> Direction:
    text = row.get(DIRECTION) or Direction.HIGHER.value
    try:
        return Direction(text.lower())
    except ValueError:
        remedy = nearest(text.lower(), [each.value for each in Direction])
        raise UsageError(f"{where}, column 'direction': {text!r} is unknown; {remedy}") from None
