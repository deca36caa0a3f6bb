"""What KServe's model server is told on its command line."""

from itertools import pairwise
from pathlib import Path

from nightbench.model import Artifact, Format, Precision
from nightbench.server import Protocol, ServeRequest
from servers.kserve import SERVER
from tests.servers.toy import MODEL


def given(workdir: Path, threads: int = 2) -> dict[str, str]:
    """Its flags and their values."""
    request = ServeRequest(
        model=MODEL,
        artifact=Artifact(
            "toy", Format.TORCHSCRIPT, Precision.FP32, "random", Path("/models/toy.pt"), "0" * 64, size_bytes=1
        ),
        options={},
        threads=threads,
        host="127.0.0.1",
        ports={"http": 20000, "grpc": 20001},
        workdir=workdir,
        load_time_path=workdir / "load_time_ns",
        python=workdir / "env/bin/python",
        site_packages=workdir / "env/lib",
    )
    command = SERVER.command(request)
    assert command.argv[:4] == (str(request.python), "-I", "-u", str(SERVER.folder / "serve.py"))
    assert command.env["OMP_NUM_THREADS"] == str(threads)
    return {name: value for name, value in pairwise(command.argv) if name.startswith("--")}


def test_both_servers_get_their_own_port_on_loopback(tmp_path: Path) -> None:
    flags = given(tmp_path)
    assert flags["--host"] == "127.0.0.1"
    assert (flags["--http_port"], flags["--grpc_port"]) == ("20000", "20001")
    assert flags["--model_name"] == "toy"
    assert flags["--artifact"] == "/models/toy.pt"
    assert Path(flags["--signature"]).is_file()


def test_it_works_as_much_as_the_others_and_logs_as_little(tmp_path: Path) -> None:
    flags = given(tmp_path, threads=3)
    assert flags["--threads"] == "3"
    assert flags["--workers"] == "1"
    assert flags["--enable_latency_logging"] == "false"


def test_a_large_batch_fits_into_a_message(tmp_path: Path) -> None:
    image_bytes = 3 * 224 * 224 * 4
    for direction in ("send", "receive"):
        assert int(given(tmp_path)[f"--grpc_max_{direction}_message_length"]) > 256 * image_bytes


def test_grpc_comes_first_and_the_slow_rest_of_v2_is_not_offered() -> None:
    assert list(SERVER.protocols) == [Protocol.KSERVE_GRPC, Protocol.KSERVE_V1]
