"""TorchScript as a plain function. The load engine loads this file in this folder's own environment."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def load(artifact: str, options: Mapping[str, object], threads: int) -> Callable[[Arrays], Arrays]:
    """A function from named inputs to named outputs, both with their batch axis.

    TorchScript knows positions, not names: inputs are passed in the order of the dictionary, and outputs take
    the names in ``options["outputs"]``, comma-separated in the model's order. ``options["mode"]`` is that of the
    server's options.
    """
    names = str(options.get("outputs", "")).split(",")
    if names == [""]:
        raise ValueError("option 'outputs' is missing: give the model's output names, comma-separated")
    # The model only reads its inputs, so a read-only array is as good as any.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        torch.set_num_interop_threads(1)  # allowed once a process
    model = torch.jit.load(artifact, map_location="cpu").eval()
    if options.get("mode") == "optimize_for_inference":
        model = torch.jit.optimize_for_inference(model)

    def predict(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            answer = model(*map(torch.from_numpy, inputs.values()))
        tensors = answer if isinstance(answer, (tuple, list)) else (answer,)
        return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}

    return predict
