"""Checkpoints: everything that a run needs to go on with the same bits, in one file.

The file is an ordinary ``.npz`` archive of NumPy, without pickled objects. Its member "metadata" is
JSON; the others are arrays: "weights.<name>" holds the codes of a parameter or buffer, as unsigned
integers whose format stands in the dtype (as `fp.save` writes them), "losses" the loss of every step,
and whatever arrays the states of optimizer, scaler and callbacks have. Random bits need no state but the
seed and the number of the step. A file is written whole or not at all.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.arrays.storage import format_of, structured
from fpemu.errors import ArgumentError
from fpemu.files import written_whole
from fpemu.text import html_table, table
from fpemu.training import states
from fpemu.training.history import History, rows_of, trace_of

if TYPE_CHECKING:
    from fpemu.training.run import Run

KIND, VERSION = "fpemu checkpoint", 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds: `load_checkpoint` reads it, ``fp.train(..., resume=)`` goes on from it.

    `weights` are the parameters and buffers as Arrays by PyTorch's names (``model.load_state_dict`` takes
    them); `history` is that of the run so far; `metadata` is all the rest, as plain data.
    """

    path: str
    metadata: dict[str, Any] = field(repr=False)
    arrays: dict[str, Any] = field(repr=False)

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters and buffers by name, in the formats in which they are stored."""
        start = "weights."
        return {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}

    @property
    def history(self) -> History:
        """The history up to this point; the epoch that is not finished has losses only."""
        kept = {**self.metadata["history"], "losses": self.arrays["losses"].tolist()}
        return History.from_dict(kept)

    @property
    def policy(self) -> str:
        """The text of the policy."""
        return self.metadata["settings"]["policy"]

    @property
    def step(self) -> int:
        """Steps done."""
        return self.metadata["history"]["steps"]

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.metadata["history"]["rows"])

    @property
    def position(self) -> int:
        """Batches done of the epoch that is not finished."""
        return self.metadata["position"]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        written, settings = self.metadata["written_by"], self.metadata["settings"]
        formats = ", ".join(dict.fromkeys(self.metadata["formats"].values()))
        numbers = sum(w.size for w in self.weights.values())
        rows = [
            ["written by", ", ".join(f"{name} {version}" for name, version in written.items())],
            ["model", self.metadata["model"]],
            ["weights", f"{len(self.weights)} arrays, {numbers} numbers, in {formats}"],
            ["done", f"{self.epoch} epochs and {self.position} batches: {self.step} steps"],
            *([k, "none" if v is None else str(v)] for k, v in settings.items()),
        ]
        if self.epoch:
            last = self.metadata["history"]["rows"][-1]
            rows += [
                [f"last {k}", str(v)] for k, v in last.items() if k not in ("epoch", "seconds")
            ]
        return [KIND, self.path], rows

    def __str__(self) -> str:
        return table(*self._cells(), left=True)

    def _repr_html_(self) -> str:
        return html_table(*self._cells())


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write the state of `run` to `path`; the former file stays whole until the new one is."""
    arrays: dict[str, np.ndarray] = {}
    kept = run.history.to_dict()
    arrays["losses"] = np.array(kept.pop("losses"), np.float64)
    kept["interrupted"] = False
    weights = run.tensors()
    arrays.update((f"weights.{name}", structured(value)) for name, value in weights.items())
    metadata = {
        "kind": KIND,
        "version": VERSION,
        "written_by": _versions(),
        "model": repr(run.model),
        "formats": {name: value.format.name for name, value in weights.items()},
        "settings": run.settings,
        "position": run.position,
        "seconds": run.spent,
        "counted": rows_of(run.counted),
        "history": kept,
        "optimizer": states.pack(_state(run.optimizer, needed=True), "optimizer", arrays),
        "scaler": states.pack(_state(run.scaler), "scaler", arrays),
        "schedule": states.pack(_state(run.schedule), "schedule", arrays),
        "callbacks": [
            {"name": _name(c), "state": states.pack(_state(c), f"callbacks.{i}", arrays)}
            for i, c in enumerate(run.callbacks)
        ],
    }
    text = np.frombuffer(states.json_text(metadata).encode(), np.uint8)
    with written_whole(path) as out:
        np.savez(out, metadata=text, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, to look inside or to take its weights.

    Every byte is checked (by the archive's CRC-32). Raises `ArgumentError` that says what is wrong: no
    such file, cut off or damaged, something else than a checkpoint, or written by a newer fpemu.
    """
    name = str(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ArgumentError(f"cannot read {name!r}: {error.strerror or error}") from None
    if not content.startswith(b"PK"):
        raise ArgumentError(f"{name!r} is no checkpoint of fpemu: it is not a .npz archive")
    try:
        members = _members(content)
    except (
        *(zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, OSError),
        *(NotImplementedError, RuntimeError, SyntaxError, MemoryError, IndexError),
    ) as error:
        raise ArgumentError(
            f"the checkpoint {name!r} is cut off or damaged ({error}); take an older one"
        ) from None
    return Checkpoint(name, *_read(name, members))


def _members(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {}
        for member in archive.namelist():
            stream = io.BytesIO(archive.read(member))  # reads to the end, which checks the CRC
            array = np.lib.format.read_array(stream, allow_pickle=False)
            members[member.removesuffix(".npy")] = array
        return members


def _read(name: str, members: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    text = members.pop("metadata", None)
    try:
        metadata = {} if text is None else json.loads(text.tobytes())
        kind = metadata.get("kind")
    except (ValueError, AttributeError):
        kind = None
    if kind != KIND:
        raise ArgumentError(f"{name!r} is a .npz archive, but no checkpoint of fpemu")
    if metadata.get("version") != VERSION:
        by = metadata.get("written_by", {}).get("fpemu", "of another version")
        raise ArgumentError(
            f"the checkpoint {name!r} has file version {metadata.get('version')}, written by fpemu {by}; "
            f"this one reads version {VERSION}: use that fpemu"
        )
    try:
        arrays = {
            key: asarray(value) if format_of(value.dtype) is not None else value
            for key, value in members.items()
        }
        checkpoint = Checkpoint(name, metadata, arrays)
        formats = {key: value.format.name for key, value in checkpoint.weights.items()}
        if formats != metadata["formats"]:
            raise ValueError("the formats of the weights are not those that it names")
        _ = checkpoint.history, str(checkpoint)
        for part in ("optimizer", "scaler", "schedule", "callbacks"):
            states.unpack(metadata[part], arrays)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ArgumentError(
            f"the checkpoint {name!r} does not hold together: {error!r}; take an older one"
        ) from None
    return metadata, arrays


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Bring `run` to where the checkpoint was written.

    Raises `ArgumentError`, with the run as it was, if it is another run: other weights, another policy,
    data, seed, batch size or whatever else decides the bits.
    """
    _check_same(run, checkpoint)
    kept, arrays = checkpoint.metadata, checkpoint.arrays
    before = run.tensors()
    run.put(checkpoint.weights)
    parts: list[tuple[Any, Any]] = [(run.optimizer, kept["optimizer"])]
    parts += [(run.scaler, kept["scaler"]), (run.schedule, kept["schedule"])]
    parts += [
        (c, saved["state"]) for c, saved in zip(run.callbacks, kept["callbacks"], strict=True)
    ]
    try:
        for part, packed in parts:
            state = states.unpack(packed, arrays)
            if state is not None and hasattr(part, "load_state_dict"):
                part.load_state_dict(state)
    except (KeyError, TypeError, ValueError) as error:
        run.put(before)
        raise ArgumentError(f"the checkpoint {checkpoint.path!r} does not fit: {error}") from None
    policy = run.history.policy
    run.history = checkpoint.history
    run.history.policy = policy
    run.counted = trace_of(kept["counted"])
    run.spent = kept["seconds"]


def _check_same(run: Run, checkpoint: Checkpoint) -> None:
    there = checkpoint.metadata["settings"]
    differing = [
        f"{name} is {there.get(name)!r} there, {run.settings.get(name)!r} here"
        for name in {**there, **run.settings}
        if there.get(name) != run.settings.get(name)
    ]
    own, stored = run.tensors(), checkpoint.weights
    if own.keys() != stored.keys():
        missing, extra = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
        differing.append(f"the model's weights: missing there {missing}, only there {extra}")
    else:
        differing += [
            f"{name} has shape {stored[name].shape} there, {own[name].shape} here"
            for name in own
            if own[name].shape != stored[name].shape
        ]
    callbacks = [saved["name"] for saved in checkpoint.metadata["callbacks"]]
    if callbacks != [_name(c) for c in run.callbacks]:
        differing.append(
            f"callbacks are {callbacks} there, {[_name(c) for c in run.callbacks]} here"
        )
    if differing:
        raise ArgumentError(
            f"the checkpoint {checkpoint.path!r} is of another run: {'; '.join(differing)}. Resume with the "
            "same, or start anew from its weights: model.load_state_dict(fp.load_checkpoint(path).weights)"
        )


def _state(part: Any, needed: bool = False) -> Any:
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if needed:
        raise ArgumentError(
            f"{type(part).__name__} has no state_dict(): a checkpoint without the optimizer's state could "
            "not go on"
        )
    return None


def _name(callback: Any) -> str:
    return getattr(callback, "__qualname__", type(callback).__name__)


def _versions() -> dict[str, str]:
    ours = sys.modules["fpemu"].__version__  # not imported: the room above all rooms
    return {"fpemu": ours, "numpy": np.__version__, "python": platform.python_version()}
