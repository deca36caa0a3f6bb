"""The checks of `nightbench.quality` as an expectation suite of Great Expectations, held against a night's rows.

Run as a module by `tasks.quality`, see `tasks.apart`: the import alone takes five seconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nightbench.night_frame import TEXTS, Row
from nightbench.quality import RULES, Check, Evaluated
from tasks.apart import answer

__all__ = ["validate"]


def validate(rows: Sequence[Row]) -> list[Evaluated]:
    """Every check of every rule, evaluated on ``rows``.

    An expectation that could not be evaluated raises `RuntimeError`: an unread figure is no sound one.
    """
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    checks = [check for rule in RULES for check in rule.checks]
    suite = context.suites.add(gx.ExpectationSuite("night"))
    for number, check in enumerate(checks):
        expectation = _expectation(check)
        expectation.meta = {"check": number}
        suite.add_expectation(expectation)
    frame = pd.DataFrame(list(rows))
    frame = frame.astype({column: "float64" for column in frame.columns if column not in TEXTS})
    asset = context.data_sources.add_pandas("nightbench").add_dataframe_asset("night")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    found = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["cell_id"]}
    )
    evaluated = [_evaluated(checks, result) for result in found.results]
    return sorted(evaluated, key=lambda each: checks.index(each.check))


def _expectation(check: Check) -> Any:
    from great_expectations import expectations

    gxe: Any = expectations
    match check.kind:
        case "given":
            return gxe.ExpectColumnValuesToNotBeNull(column=check.column)
        case "between":
            where = {"row_condition": check.where, "condition_parser": "pandas"} if check.where else {}
            return gxe.ExpectColumnValuesToBeBetween(
                column=check.column, min_value=check.low, max_value=check.high, strict_min=check.above, **where
            )
        case "at_most":
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=check.other,
                column_B=check.column,
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            )
        case "equal":
            return gxe.ExpectColumnPairValuesToBeEqual(
                column_A=check.column, column_B=check.other, ignore_row_if="either_value_is_missing"
            )


def _evaluated(checks: Sequence[Check], result: Any) -> Evaluated:
    config = result.expectation_config
    check = checks[config.meta["check"]]
    found: Mapping[str, Any] = result.result
    if "element_count" not in found:
        raise RuntimeError(f"{config.type} of {check.column} could not be evaluated: {result.exception_info}")
    # To be given is asked of every row; whatever else is asked, only of those that have the figure.
    absent = 0 if check.kind == "given" else found.get("missing_count", 0)
    broken = tuple(sorted({str(row["cell_id"]) for row in found["unexpected_index_list"] or ()}))
    return Evaluated(check, int(found["element_count"]) - int(absent), broken)


def _reply(rows: Sequence[Row]) -> object:
    return [[each.looked_at, each.broken_in] for each in validate(rows)]


if __name__ == "__main__":
    answer(_reply)
