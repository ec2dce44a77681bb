"""Checkpoints in several files, as Hugging Face's libraries save large ones, and their index."""

import re
from collections.abc import Sequence
from pathlib import Path

from onnxproof.errors import CheckpointError
from onnxproof.system.parsed import json_in

INDEX_SUFFIX = ".index.json"
"""How the name of an index ends: it says which of several files has which tensor, in ``weight_map``."""

NO_FILES = ("", ".", "..")
"""Names that no file has."""

_SHARD = re.compile(r"-\d{5}-of-(\d{5})(\.safetensors|\.bin)$")


def parts_of(checkpoint: Path) -> tuple[Path, ...]:
    """The files that hold a checkpoint's tensors: those that an index names, or the file itself.

    Raises CheckpointError if the index is broken, or names a file of another folder.
    """
    if not checkpoint.name.endswith(INDEX_SUFFIX):
        return (checkpoint,)
    try:
        names = sorted(set(json_in(checkpoint)["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'checkpoint {checkpoint} is no index: expected {{"weight_map": {{"TENSOR": "FILE", …}}}}'
        ) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in NO_FILES or "\0" in name:
            raise CheckpointError(
                f"checkpoint {checkpoint} names the file {name or 'of no name'}, which is not beside it: "
                "copy the whole checkpoint again"
            )
    return tuple(checkpoint.with_name(name) for name in names)


def refuse_shards(files: Sequence[Path]) -> None:
    """Raise CheckpointError if all files are parts of one checkpoint, and their index is not among them."""
    found = [_SHARD.search(file.name) for file in files]
    first = found[0] if found else None
    if first is None or not all(one is not None and int(one[1]) > 1 for one in found):
        return
    index = files[0].with_name(files[0].name.removesuffix(first[0]) + first[2] + INDEX_SUFFIX)
    told = f"checkpoint {files[0]} is one of the {int(first[1])} files of a checkpoint"
    if index.is_file():
        raise CheckpointError(f"{told}: give their folder, or their index {index}")
    raise CheckpointError(
        f"{told}, and their index, which says which file has which tensor, is missing: copy {index.name} "
        "beside them"
    )
