"""A run's results in the form of one's choice."""

from enum import StrEnum
from typing import assert_never

from dashboards.report.told import Told
from dashboards.results import subject, tables
from dashboards.results.columns import row
from dashboards.results.document import as_pdf
from nightbench.summary import NightSummary

__all__ = ["ResultFormat", "Rows", "exported"]


class ResultFormat(StrEnum):
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    PDF = "pdf"
    """For people: no columns, but what the report says."""

    @property
    def needs(self) -> str:
        """The package it is made with; empty where none is."""
        return {ResultFormat.PARQUET: "pyarrow", ResultFormat.PDF: "fpdf"}.get(self, "")


class Rows(StrEnum):
    """What a row is."""

    CELL = "cell"
    """One cell over its rounds, as in the report."""
    ROUND = "round"
    """One round of one cell, with that round's own figures and doubts."""


def exported(night: NightSummary, told: Told, form: ResultFormat, rows: Rows = Rows.CELL) -> bytes:
    """The whole file."""
    if form is ResultFormat.PDF:
        return as_pdf(night, told)
    subjects = subject.cells(night, told) if rows is Rows.CELL else subject.rounds(night, told)
    found = [row(each) for each in subjects]
    match form:
        case ResultFormat.CSV:
            return tables.as_csv(found)
        case ResultFormat.JSON:
            return tables.as_json(night, found)
        case ResultFormat.PARQUET:
            return tables.as_parquet(night, found)
        case _:
            assert_never(form)
