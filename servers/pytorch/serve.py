"""TorchScript, or an archive of `torch.export`, as a plain function. Loaded in this folder's own environment."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]
Predict = Callable[[Arrays], Arrays]

COMPILED_AT = (1, 2, 16)
"""One compilation does not do for all batches: PyTorch takes a batch of one for a constant, and from 16 on it chooses
other convolutions. Where it sees no difference, no more is compiled."""
MISMATCH = "mode {mode!r} is for {formats}, and this is {other}; use mode 'plain', or another format"


def load(artifact: str, options: Mapping[str, object], threads: int) -> Predict:
    """A function from named inputs to named outputs, both with their batch axis.

    PyTorch knows positions, not names: inputs are passed in the order of the dictionary, and outputs take the names
    in ``options["outputs"]``, comma-separated in the model's order. ``mode`` and ``device`` are those of the server's
    options; `ValueError` for a mode that does not fit the format.
    """
    names = str(options.get("outputs", "")).split(",")
    if names == [""]:
        raise ValueError("option 'outputs' is missing: give the model's output names, comma-separated")
    mode, device = str(options.get("mode", "plain")), str(options.get("device", "cpu"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' needs a GPU, and PyTorch sees none here; use device 'cpu'")
    if device == "cuda":
        device = "cuda:0"  # the compiler takes the two for different devices
    # The model only reads its inputs, so a read-only array is as good as any.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)  # allowed once a process
    # fp32 is fp32: TensorFloat-32 is PyTorch's default for convolutions, and leaves every tolerance.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if artifact.endswith(".pt2"):
        return exported(artifact, mode, device, names)
    return scripted(artifact, mode, device, names)


def scripted(artifact: str, mode: str, device: str, names: list[str]) -> Predict:
    if mode == "compile":
        # It would run the script as it is, without a word.
        raise ValueError(MISMATCH.format(mode=mode, formats="torch-export", other="torchscript"))
    model = torch.jit.load(artifact, map_location=device).eval()
    if mode == "optimize_for_inference":
        model = torch.jit.optimize_for_inference(model)
    return function(model, device, names)


def exported(artifact: str, mode: str, device: str, names: list[str]) -> Predict:
    if mode == "optimize_for_inference":
        raise ValueError(MISMATCH.format(mode=mode, formats="torchscript", other="torch-export"))
    if mode == "compile":
        prepare_inductor(device)
    program = torch.export.load(artifact)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    if mode == "plain":
        return function(program.module(), device, names)
    predict = function(torch.compile(program.module(), dynamic=True), device, names)
    for batch in COMPILED_AT:
        predict(zeros(program, batch))
    # What is still to be compiled would be compiled in a request, and timed: better that the request fails.
    torch.compiler.set_stance("fail_on_recompile")
    return predict


def prepare_inductor(device: str) -> None:
    """`ValueError` without a compiler. What is compiled lies in the temporary folder, which goes with the engine."""
    compiler = os.environ.get("CXX", "g++")
    if device == "cpu" and shutil.which(compiler) is None:
        raise ValueError(
            f"mode 'compile' needs a C++ compiler, and there is no {compiler} on the PATH; "
            "install it (Debian: apt-get install g++), or use mode 'plain'"
        )
    from torch._inductor import config

    config.compile_threads = 1  # more would be processes, and they outlive the compiling


def zeros(program: torch.export.ExportedProgram, batch: int) -> Arrays:
    """Inputs of the shapes and types that the archive says."""
    said = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [said[name] for name in program.graph_signature.user_inputs]
    return {str(at): torch.zeros((batch, *one.shape[1:]), dtype=one.dtype).numpy() for at, one in enumerate(inputs)}


def function(model: Callable[..., Any], device: str, names: list[str]) -> Predict:
    def placed(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    send = torch.from_numpy if device == "cpu" else placed

    def predict(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            answer = model(*map(send, inputs.values()))
        tensors = answer if isinstance(answer, (tuple, list)) else (answer,)
        return {name: tensor.cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}

    return predict
