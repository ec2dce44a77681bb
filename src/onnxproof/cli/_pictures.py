"""The pictures that a command is given: files, folders, patterns, URLs, and names on standard input; and the
folder of its drawings."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import click

from onnxproof.cli._streams import read_input
from onnxproof.errors import RequestError
from onnxproof.many import listing
from onnxproof.runtime.drawings import is_drawing
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.runtime.remote import Place, RemotePicture, is_url
from onnxproof.system.files import check_folder, refuse_inputs

STANDARD_INPUT = "-"
IMAGES = "--images"


class TakesPictures(click.Command):
    """A command whose ``--images`` takes one pattern. It says so if the shell made several names of it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _refuse_expanded(args)
        return super().parse_args(ctx, args)


def _refuse_expanded(given: Sequence[str]) -> None:
    """Raise RequestError if more than one picture stands behind ``--images``."""
    texts = [part for one in given for part in (one.split("=", 1) if one.startswith(f"{IMAGES}=") else [one])]
    behind = texts[texts.index(IMAGES) + 1 :] if IMAGES in texts else []
    pictures = [*itertools.takewhile(lambda one: Path(one).suffix.lower() in listing.SUFFIXES, behind)]
    if len(pictures) > 1:
        first = Path(pictures[0])
        raise RequestError(
            f"{IMAGES} takes one pattern, and the shell has expanded it to {len(pictures)} names "
            f"({pictures[0]}, {pictures[1]}{', …' if len(pictures) > 2 else ''}): quote it, as in "
            f"{IMAGES} '{first.parent / f'*{first.suffix}'}'"
        )


def pictures_named(given: Sequence[str]) -> tuple[Place, ...]:
    """The pictures that the arguments name, in their order; "-" stands for names on standard input.

    Raises RequestError if one of them names nothing.
    """
    return tuple(
        place
        for one in given
        for place in (_on_standard_input() if one == STANDARD_INPUT else listing.pictures_named([one]))
    )


def several(given: Sequence[str]) -> bool:
    """Whether the arguments may name more than one picture."""
    return STANDARD_INPUT in given or listing.several(given)


def check_drawings(folder: Path, names: Sequence[str], read: Sequence[Path]) -> None:
    """Raise RequestError if drawing would fail or lose a file, before anything is drawn."""
    refuse_in_bundle(folder, "--draw")
    check_folder(folder, "--draw")
    files = [folder / name for name in names]
    refuse_inputs(files, read, "--draw")
    for file in files:
        if file.exists() and not is_drawing(file):
            raise RequestError(
                f"{file} is there and was not drawn by onnxproof: name another folder with --draw"
            )


def _on_standard_input() -> Sequence[Place]:
    """One picture a line, by path or URL; lines are no patterns."""
    told = os.fsdecode(read_input("give one path of a picture a line"))
    named = [line for line in told.splitlines() if line.strip()]
    if not named:
        raise RequestError("standard input names no picture: expected one path a line")
    return [RemotePicture(line) if is_url(line) else Path(line) for line in named]
