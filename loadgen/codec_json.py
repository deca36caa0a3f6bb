"""Jobs and their results as JSON: how the engine's process and its caller speak."""

from functools import cache

from pydantic import TypeAdapter, ValidationError

from loadgen.job import Job, JobResult
from nightbench.errors import NightbenchError

__all__ = ["job_from_json", "job_to_json", "result_from_json", "result_to_json"]


@cache
def _jobs() -> TypeAdapter[Job]:
    return TypeAdapter(Job)


@cache
def _results() -> TypeAdapter[JobResult]:
    return TypeAdapter(JobResult)


def _sentence(what: str, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"not a {what}: {first['msg']}" + (f" at {where}" if where else "")


def job_to_json(job: Job) -> bytes:
    """One line of JSON, without its newline."""
    return _jobs().dump_json(job)


def job_from_json(line: bytes) -> Job:
    """The job in ``line``; `NightbenchError` if it is not one."""
    try:
        return _jobs().validate_json(line)
    except ValidationError as error:
        raise NightbenchError(_sentence("job", error)) from error


def result_to_json(result: JobResult) -> bytes:
    """One line of JSON, without its newline."""
    return _results().dump_json(result)


def result_from_json(line: bytes) -> JobResult:
    """The result in ``line``; `NightbenchError` if it is not one."""
    try:
        return _results().validate_json(line)
    except ValidationError as error:
        raise NightbenchError(_sentence("result", error)) from error
