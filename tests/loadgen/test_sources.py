"""What control groups tell, and slopes: figures where there are any, absent where there are not."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from loadgen.sources.cgroup import Container, CpuThrottle, Held
from loadgen.sources.trend import FEWEST, slope_per_s

# -- control groups


@pytest.mark.parametrize(
    ("membership", "stat", "text", "seconds"),
    [
        ("0::/app/one", "app/one/cpu.stat", "usage_usec 9\nnr_periods 5\nnr_throttled 1\nthrottled_usec {}", 1e-6),
        ("3:cpu,cpuacct:/app\n0::/", "cpu/app/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time {}", 1e-9),
    ],
)
def test_throttling_is_told_as_it_grows(membership: str, stat: str, text: str, seconds: float, tmp_path: Path) -> None:
    root, file = tmp_path / "cgroup", tmp_path / "cgroup" / stat
    file.parent.mkdir(parents=True)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(membership + "\n")
    file.write_text(text.format(1000))
    throttle = CpuThrottle(7, root, tmp_path)
    assert throttle.read() == 0.0
    file.write_text(text.format(4000))
    assert throttle.read() == pytest.approx(3000 * seconds)
    file.write_text(text.format(10))
    assert throttle.read() is None
    file.write_text("nr_periods 0\nthrottled_usec 0\nthrottled_time 0")
    assert throttle.read() is None
    file.unlink()
    assert throttle.read() is None


def test_a_process_without_a_limit_has_no_throttling(tmp_path: Path) -> None:
    assert CpuThrottle(7, tmp_path, tmp_path).read() is None
    (tmp_path / "7").mkdir()
    for text in ("", "nonsense", "0::/nowhere"):
        (tmp_path / "7" / "cgroup").write_text(text)
        assert CpuThrottle(7, tmp_path, tmp_path).read() is None


V2 = {
    "c1/cpu.stat": "usage_usec {cpu_us}\nuser_usec 1\n",
    "c1/memory.current": "{memory}\n",
    "c1/memory.events": "low 0\nmax 9\noom 3\noom_kill {kills}\n",
}
V1 = {
    "cpuacct/docker/c1/cpuacct.usage": "{cpu_us}000\n",
    "memory/docker/c1/memory.usage_in_bytes": "{memory}\n",
    "memory/docker/c1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
}


@pytest.mark.parametrize(
    ("membership", "files"),
    [("0::/c1", V2), ("4:memory:/docker/c1\n2:cpuacct:/docker/c1\n1:cpu:/docker/c1\n0::/docker/c1", V1)],
)
def test_a_container_s_group_tells_all_that_is_in_it(membership: str, files: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "cgroup"

    def write(cpu_us: int, memory: int, kills: int) -> None:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text.format(cpu_us=cpu_us, memory=memory, kills=kills))

    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(membership + "\n")
    write(5_000_000, 4096, 0)
    group = Container(7, root, tmp_path)
    assert group.read() == Held(0.0, 4096, 0)
    write(5_250_000, 8192, 2)
    assert group.read() == Held(pytest.approx(0.25), 8192, 2)
    for name in files:
        (root / name).unlink()
    assert group.read() is None


def test_where_no_group_can_be_seen_nothing_is_told(tmp_path: Path) -> None:
    assert Container(7, tmp_path, tmp_path).read() is None


# -- slopes


@given(
    st.floats(-1e9, 1e9),
    st.lists(st.integers(1, 10**9), min_size=FEWEST, max_size=60),
    st.integers(0, 2**50),
)
def test_a_line_has_its_slope(slope: float, gaps: list[int], start_ns: int) -> None:
    at_ns = [start_ns + sum(gaps[: n + 1]) for n in range(len(gaps))]
    points = [(at, 5.0 + slope * (at - start_ns) * 1e-9) for at in at_ns]
    assert slope_per_s(points) == pytest.approx(slope, rel=1e-3, abs=1.0)


def test_outliers_do_not_bend_it() -> None:
    points = [(n * 10**8, 1e6 * n + (5e8 if n % 5 == 0 else 0.0)) for n in range(1000)]
    assert slope_per_s(points) == pytest.approx(1e7, rel=0.05)


def test_the_slope_is_scipys() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1e6, 100).cumsum()
    at_ns = np.sort(rng.integers(0, 10**10, 100))
    known = scipy.stats.theilslopes(values, at_ns * 1e-9).slope
    assert slope_per_s(list(zip(at_ns.tolist(), values.tolist(), strict=True))) == pytest.approx(known)


def test_a_few_values_have_no_slope() -> None:
    assert slope_per_s([(n, 1.0) for n in range(FEWEST - 1)]) is None
    assert slope_per_s([(7, 1.0)] * FEWEST) is None
