"""What was said of a night's series, as a table shows it."""

from rich.console import Console

from flows.console import table
from flows.judgements import Said, rows
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Verdict
from nightbench.record import JudgementRecord


def test_what_is_in_brackets_is_text_and_no_style() -> None:
    record = JudgementRecord("r", "s", "f", Metric.LATENCY_P50_NS, Verdict.INVALID, "died: [Errno 111] refused [/red]")
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table("night", rows([Said("onnxruntime resnet[int8] b1", record)])))
    assert "died: [Errno 111] refused [/red]" in shown.get()
    assert "onnxruntime resnet[int8] b1" in shown.get()
