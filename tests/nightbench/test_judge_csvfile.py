"""CSV files of series: what is read, and one sentence for whatever cannot be."""

import csv
import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbench.errors import UsageError
from nightbench.judge.csvfile import Given, parse, read
from nightbench.judge.series import Direction, Point

NAME = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() == text and "\0" not in text)
SERIES = st.dictionaries(
    NAME,
    st.tuples(
        st.sampled_from(Direction),
        st.lists(st.tuples(NAME, st.floats(1e-300, 1e300)), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    ),
    min_size=1,
    max_size=5,
)


@given(SERIES, st.permutations(["series", "night", "value", "direction", "note"]))
def test_what_was_written_is_read(
    written: dict[str, tuple[Direction, list[tuple[str, float]]]], columns: list[str]
) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for name, (direction, nights) in written.items():
        for night, value in nights:
            row = {"series": name, "night": night, "value": repr(value), "direction": direction.value, "note": "x"}
            writer.writerow(row)
    assert parse(text.getvalue(), "f") == tuple(
        Given(name, direction, tuple(Point(night, value) for night, value in nights))
        for name, (direction, nights) in written.items()
    )


def test_lines_of_several_series_may_be_mixed_and_higher_is_better_unless_said() -> None:
    found = parse("series,night,value,Direction\r\na,2,1,\r\nb,1,5e-1,LOWER\n\na,1, 2.5 ,higher\n", "f")
    assert found == (
        Given("a", Direction.HIGHER, (Point("2", 1.0), Point("1", 2.5))),
        Given("b", Direction.LOWER, (Point("1", 0.5),)),
    )


HEADER = "series,night,value,direction\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f.csv: is empty; its first line must be: series,night,value"),
        ("\n , \n", "is empty"),
        (HEADER, "there is no value in it"),
        ("series,value\na,1\n", "line 1: no column 'night' among 'series', 'value'"),
        ("a,1,2.0\n", "line 1: no column 'series'"),
        ("series,night,value,night\n", "line 1: column 'night' is there twice"),
        (HEADER + "a,1,fast,\n", "line 2, column 'value': 'fast' is no number; write it with a decimal point"),
        (HEADER + 'a,1,"1,5",\n', "line 2, column 'value': '1,5' is no number"),
        (HEADER + "a,1,nan,\n", "line 2, column 'value': 'nan' is no finite number; remove the line"),
        (HEADER + "a,1,-inf,\n", "'-inf' is no finite number"),
        (HEADER + "a,1,1e999,\n", "'1e999' is no finite number"),
        (HEADER + "a,1,1,\na,2,0,\n", "line 3, column 'value': 0 is not above 0, and levels are compared as ratios"),
        (HEADER + "a,1,-3.5,\n", "-3.5 is not above 0"),
        (HEADER + "a,1,,\n", "line 2, column 'value': nothing there"),
        (HEADER + ",1,1,\n", "line 2, column 'series': nothing there"),
        (HEADER + "a,,1,\n", "line 2, column 'night': nothing there"),
        (HEADER + "a,1,1,\nb,1,1,\na,1,2,\n", "line 4, column 'night': '1' is there already for series 'a'"),
        (HEADER + "a,1,1,up\n", "line 2, column 'direction': 'up' is unknown; known: higher, lower"),
        (HEADER + "a,1,1,lowr\n", "did you mean 'lower'?"),
        (
            HEADER + "a,1,1,lower\na,2,1,\n",
            "line 3, column 'direction': 'higher' for series 'a', whose first line says",
        ),
        (HEADER + "a,1,1\n", "line 2: 3 columns, but the header has 4"),
        (HEADER + 'a,1,1,"\n', "unexpected end of data"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "f.csv")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("f.csv")
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_read_or_refused(text: str, headed: bool) -> None:
    with suppress(UsageError):
        assert parse(HEADER + text if headed else text, "f")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.csv: cannot be read: No such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read(tmp_path)
    wrong = tmp_path / "latin.csv"
    wrong.write_bytes(HEADER.encode() + b"gr\xfcn,1,1,\n")
    with pytest.raises(UsageError, match="byte 32 is not UTF-8; save the file as UTF-8"):
        read(wrong)
    marked = tmp_path / "marked.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"a,1,1,\n")
    assert read(marked) == (Given("a", Direction.HIGHER, (Point("1", 1.0),)),)
