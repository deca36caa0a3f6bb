"""Trained weights for networks that are defined here: one file of safetensors, never a pickle."""

from pathlib import Path
from typing import TYPE_CHECKING

from nightbench.errors import ExportError

if TYPE_CHECKING:
    import torch

__all__ = ["load_weights", "refuse_pickle"]

_FILE = "model.safetensors"
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def refuse_pickle(weights: str) -> None:
    """Raise `ExportError` where ``weights`` is a pickle, or a local folder that holds nothing better."""
    path = Path(weights)
    pickle = path if weights.endswith(_PICKLES) else None
    if path.is_dir() and not any(path.glob("*.safetensors")):
        pickle = next((each for each in sorted(path.iterdir()) if each.name.endswith(_PICKLES)), None)
    if pickle is not None:
        raise ExportError(
            f"weights {str(pickle)!r} are a pickle, which runs code when it is read; where you trust it, "
            f"save its state_dict() as {_FILE} with safetensors.torch.save_file, and name that folder"
        )


def load_weights(module: "torch.nn.Module", weights: str) -> None:
    """Fill the parameters and buffers of ``module`` in place, by their names, in fp32.

    ``weights`` is a folder that holds ``model.safetensors``, or a hub id with an optional ``@revision`` of a repository
    that does. Raises `ExportError` where a tensor is missing, left over or of another shape.
    """
    import torch
    from safetensors.torch import load_file

    refuse_pickle(weights)
    have = load_file(_found(weights))
    want = module.state_dict()
    # How many batches BatchNorm has seen matters in training only, and some converters leave it out.
    needed = {name for name in want if not name.endswith(".num_batches_tracked")}
    unfit = f"weights {weights!r} do not fit {type(module).__name__}"
    if lacking := needed - have.keys():
        raise ExportError(f"{unfit}: they lack {min(lacking)!r} and {len(lacking) - 1} more tensors")
    if left := have.keys() - want.keys():
        raise ExportError(f"{unfit}: it has no place for {min(left)!r} and {len(left) - 1} more tensors")
    for name in needed:
        if have[name].shape != want[name].shape:
            raise ExportError(f"{unfit}: {name!r} is {tuple(have[name].shape)} instead of {tuple(want[name].shape)}")
    with torch.no_grad():
        for name in needed:
            want[name].copy_(have[name])


def _found(weights: str) -> Path:
    folder = Path(weights)
    if folder.is_dir():
        file = folder / _FILE
        if not file.is_file():
            raise ExportError(f"weights {weights!r}: the folder holds no {_FILE}; put one there")
        return file
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub_id, _, revision = weights.partition("@")
    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, _FILE, revision=revision or "main"))
    except LocalEntryNotFoundError as error:
        raise ExportError(
            f"weights {weights!r}: the hub does not answer and they were never fetched before; name a local folder"
        ) from error
    except EntryNotFoundError as error:
        raise ExportError(
            f"weights {weights!r}: the hub's repository holds no {_FILE}; pickles are not read, name a repository "
            "that has safetensors or a local folder"
        ) from error
