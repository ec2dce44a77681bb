"""Which checkpoints load, and how the others are refused: before capture, and without running them."""

import json
import os
import pickle
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from onnxproof.source import sha256_of
from onnxproof.wrappers.families.yolox import build_network

Refuse = Callable[..., None]
Run = Callable[..., CompletedProcess[str]]
State = dict[str, Tensor]

FAST = ("--no-validate", "--set", "dims.batch=1", "--set", "dims.height=64", "--set", "dims.width=64")


def state_in(folder: Path) -> State:
    state: State = torch.load(folder / "yolox_nano.pth", weights_only=True)
    return state


def save_pt(folder: Path, state: State) -> Path:
    torch.save(state, folder / "trained.pt")
    return folder / "trained.pt"


def save_old_pth(folder: Path, state: State) -> Path:
    torch.save(state, folder / "trained.pth", _use_new_zipfile_serialization=False)
    return folder / "trained.pth"


def save_safetensors(folder: Path, state: State) -> Path:
    save_file(state, folder / "trained.safetensors")
    return folder / "trained.safetensors"


def save_in_model(folder: Path, state: State) -> Path:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    torch.save({"model": state, "optimizer": optimizer.state_dict(), "epoch": 3}, folder / "last.pth")
    return folder / "last.pth"


def save_in_state_dict(folder: Path, state: State) -> Path:
    torch.save({"state_dict": state, "epoch": 3}, folder / "best.pth")
    return folder / "best.pth"


def keep_pth(folder: Path, state: State) -> Path:
    return folder / "yolox_nano.pth"


@pytest.mark.first_case
@pytest.mark.parametrize(
    "save",
    [
        pytest.param(keep_pth, id="pth-as-the-tutorial-saves-it"),
        pytest.param(save_old_pth, id="pth-from-before-zip-files"),
        pytest.param(save_pt, id="pt"),
        pytest.param(save_safetensors, id="safetensors"),
        pytest.param(save_in_model, id="a-training-state-with-the-weights-in-model"),
        pytest.param(save_in_state_dict, id="a-training-state-with-the-weights-in-state_dict"),
    ],
)
def test_a_checkpoint_that_loads(
    run: Run, small_job: Path, model_folder: Path, tmp_path: Path, save: Callable[[Path, State], Path]
) -> None:
    file = save(model_folder, state_in(model_folder))
    exported(run, small_job, tmp_path, f"model.checkpoint={file}", sha256=sha256_of(file))


def test_a_folder_with_two_checkpoints_gives_the_one_of_the_variant(
    run: Run, small_job: Path, model_folder: Path, tmp_path: Path
) -> None:
    torch.save(build_network("tiny", 10).state_dict(), model_folder / "yolox_tiny.pth")
    wanted = sha256_of(model_folder / "yolox_nano.pth")
    exported(run, small_job, tmp_path, f"model.checkpoint={model_folder}", sha256=wanted)


@pytest.mark.slow
def test_a_file_name_tells_the_variant(run: Run, small_job: Path, model_folder: Path, tmp_path: Path) -> None:
    file = model_folder / "yolox_tiny.pth"
    torch.save(build_network("tiny", 10).state_dict(), file)
    job = tmp_path / "job.toml"
    job.write_text(small_job.read_text(encoding="utf-8").replace('variant = "nano"\n', ""), encoding="utf-8")
    exported(
        run,
        job,
        tmp_path,
        f"model.checkpoint={file}",
        f"validate.images={small_job.parent}/pictures/*.png",
        sha256=sha256_of(file),
    )


def exported(run: Run, job: Path, tmp_path: Path, *overrides: str, sha256: str) -> None:
    """Export the job, and see that it was that checkpoint which went in."""
    flags = [flag for override in overrides for flag in ("--set", override)]
    ran = run("export", job, "--out", tmp_path / "dist", "--json", *FAST, *flags)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["manifest"]["checkpoint_sha256"] == sha256


def remove_all(folder: Path) -> None:
    (folder / "yolox_nano.pth").unlink()


def truncate(folder: Path) -> None:
    file = folder / "yolox_nano.pth"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty_file(folder: Path) -> None:
    (folder / "yolox_nano.pth").write_bytes(b"")


def flipped_bytes(folder: Path) -> None:
    file = folder / "yolox_nano.pth"
    content = bytearray(file.read_bytes())
    content[1000:5000] = b"\xff" * 4000
    file.write_bytes(content)


def text_file(folder: Path) -> None:
    (folder / "yolox_nano.pth").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def truncated_safetensors(folder: Path) -> None:
    save_file(state_in(folder), folder / "whole.safetensors")
    content = (folder / "whole.safetensors").read_bytes()
    remove_all(folder)
    (folder / "whole.safetensors").unlink()
    (folder / "yolox_nano.safetensors").write_bytes(content[: len(content) // 2])


def second_checkpoint(folder: Path) -> None:
    (folder / "yolox_nano.pth").rename(folder / "first.pth")
    (folder / "second.pth").write_bytes((folder / "first.pth").read_bytes())


class Runs:
    """What a pickle asks its reader to call."""

    def __init__(self, function: Callable[..., Any], argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


def function_of_the_system(folder: Path) -> None:
    torch.save({"model": state_in(folder), "epoch": Runs(os.system, "exit 1")}, folder / "yolox_nano.pth")


def built_in_function(folder: Path) -> None:
    torch.save({"model": state_in(folder), "epoch": Runs(eval, "1 / 0")}, folder / "yolox_nano.pth")


def two_networks(folder: Path) -> None:
    torch.save({"netG": state_in(folder), "netD": state_in(folder)}, folder / "yolox_nano.pth")


def torchscript(folder: Path) -> None:
    script: Any = torch.jit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced = script.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        traced.save(str(folder / "yolox_nano.pth"))


def one_tensor(folder: Path) -> None:
    torch.save(torch.zeros(3), folder / "yolox_nano.pth")


def empty_dict(folder: Path) -> None:
    torch.save({}, folder / "yolox_nano.pth")


def dict_of_numbers(folder: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.5}, folder / "yolox_nano.pth")


def dict_in_itself(folder: Path) -> None:
    held: dict[str, object] = {"epoch": 3}
    held["self"] = held
    torch.save(held, folder / "yolox_nano.pth")


def another_model(folder: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "yolox_nano.pth")


def twelve_classes(folder: Path) -> None:
    torch.save(build_network("nano", 12).state_dict(), folder / "yolox_nano.pth")


def another_variant(folder: Path) -> None:
    torch.save(build_network("tiny", 10).state_dict(), folder / "yolox_nano.pth")


def one_tensor_short(folder: Path) -> None:
    state = state_in(folder)
    del state["backbone.stem.conv.conv.weight" if "backbone.stem.conv.conv.weight" in state else min(state)]
    torch.save(state, folder / "yolox_nano.pth")


def one_tensor_more(folder: Path) -> None:
    torch.save({**state_in(folder), "extra.weight": torch.zeros(1)}, folder / "yolox_nano.pth")


def no_statistics(folder: Path) -> None:
    (folder / "norm_stats.json").unlink()


def statistics_of_two_channels(folder: Path) -> None:
    (folder / "norm_stats.json").write_text('{"mean": [0, 0], "std_dev": [1, 1]}', encoding="utf-8")


def statistics_that_divide_by_zero(folder: Path) -> None:
    (folder / "norm_stats.json").write_text('{"mean": [0, 0, 0], "std_dev": [1, 0, 1]}', encoding="utf-8")


def broken_statistics(folder: Path) -> None:
    (folder / "norm_stats.json").write_text('{"mean": [0, ', encoding="utf-8")


def broken_colormap(folder: Path) -> None:
    (folder / "digits-colormap.json").write_text('["0", "1"]', encoding="utf-8")


def second_colormap(folder: Path) -> None:
    content = (folder / "digits-colormap.json").read_bytes()
    (folder / "letters-colormap.json").write_bytes(content)


def eight_bits(folder: Path) -> None:
    state = {name: (tensor * 100).to(torch.int8) for name, tensor in state_in(folder).items()}
    torch.save(state, folder / "yolox_nano.pth")


def eight_bit_floats(folder: Path) -> None:
    state = state_in(folder)
    name = next(name for name in state if name.endswith("conv.weight"))
    torch.save({**state, name: state[name].to(torch.float8_e4m3fn)}, folder / "yolox_nano.pth")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        pytest.param(remove_all, ("holds no checkpoint", "*.pth, *.pt, *.safetensors"), id="an-empty-folder"),
        pytest.param(
            second_checkpoint, ("2 checkpoints", "first.pth, second.pth", "model.checkpoint"), id="two"
        ),
        pytest.param(truncate, ("yolox_nano.pth", "cannot be read", "whole"), id="half-a-download"),
        pytest.param(empty_file, ("cannot be read (it ends too early)", "whole"), id="no-bytes"),
        pytest.param(flipped_bytes, ("cannot be read", "whole"), id="damaged-in-the-middle"),
        pytest.param(
            text_file, ("cannot be read (it is a Git LFS pointer", "git lfs pull"), id="a-git-lfs-pointer"
        ),
        pytest.param(
            truncated_safetensors,
            ("yolox_nano.safetensors", "cannot be read", "whole"),
            id="half-a-safetensors",
        ),
        pytest.param(
            function_of_the_system,
            ("would run posix.system", "torch.save(model.state_dict()"),
            id="a-pickle-that-runs-a-program",
        ),
        pytest.param(
            built_in_function,
            ("would run ", "eval", "torch.save(model.state_dict()"),
            id="a-pickle-that-evaluates-a-text",
        ),
        pytest.param(
            two_networks,
            ('2 sets of weights ("netG", "netD")', "model.weights"),
            id="two-networks",
        ),
        pytest.param(
            torchscript, ("neither the tensor", "weight"), id="a-torchscript-archive-of-another-model"
        ),
        pytest.param(one_tensor, ("a Tensor", "expected a state dict"), id="a-lone-tensor"),
        pytest.param(empty_dict, ("an empty dict", "expected a state dict"), id="an-empty-dict"),
        pytest.param(dict_of_numbers, ("keys epoch, loss", "expected a state dict"), id="no-tensors"),
        pytest.param(dict_in_itself, ("keys epoch, self", "expected a state dict"), id="a-dict-in-itself"),
        pytest.param(
            another_model,
            ("multi_level_conv_cls", "cjm_yolox_pytorch's YOLOX", "model.family"),
            id="another-architecture",
        ),
        pytest.param(
            twelve_classes,
            ("12 classes", "colormap", "names 10", "trained with"),
            id="12-classes-and-10-names",
        ),
        pytest.param(
            another_variant, ("does not fit yolox_nano", "expected [", "model.variant"), id="tiny-named-nano"
        ),
        pytest.param(one_tensor_short, ("is missing",), id="a-tensor-too-few"),
        pytest.param(one_tensor_more, ("extra.weight is not in the model",), id="a-tensor-too-many"),
        pytest.param(
            eight_bits, ("does not fit yolox_nano", "is int8, expected float32", "quantized"), id="int8"
        ),
        pytest.param(eight_bit_floats, ("conv.weight is float8_e4m3fn, expected float32",), id="fp8"),
        pytest.param(no_statistics, ("norm_stats.json", "wrapper.mean and wrapper.std"), id="no-norm-stats"),
        pytest.param(
            statistics_of_two_channels, ("mean [0.0, 0.0]", "expected three"), id="norm-stats-of-two-channels"
        ),
        pytest.param(
            statistics_that_divide_by_zero, ("std_dev [1.0, 0.0", "above 0"), id="a-deviation-of-zero"
        ),
        pytest.param(broken_statistics, ("norm_stats.json", "cannot be read"), id="norm-stats-cut-short"),
        pytest.param(broken_colormap, ("no colormap", '"items"'), id="a-colormap-of-another-form"),
        pytest.param(second_colormap, ("2 files of classes", "digits-", "letters-"), id="two-colormaps"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    refuse_export: Refuse, model_folder: Path, damage: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    damage(model_folder)
    refuse_export("--set", f"model.checkpoint={model_folder}", says=(str(model_folder), *parts))


def all_zero(state: State) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def in_half(state: State) -> State:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def in_double(state: State) -> State:
    return {
        name: tensor.double() / 3 if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param(all_zero, "note: every weight is zero (", id="all-zero"),
        pytest.param(in_half, "in half precision; float32 holds the same numbers", id="half"),
        pytest.param(in_double, "as float64 and rounded to float32", id="float64"),
    ],
)
def test_what_is_odd_in_a_checkpoint_that_fits_is_told_once(
    run: Run,
    small_job: Path,
    model_folder: Path,
    tmp_path: Path,
    change: Callable[[State], State],
    note: str,
) -> None:
    torch.save(change(state_in(model_folder)), model_folder / "yolox_nano.pth")
    flags = ("--out", tmp_path / "dist", *FAST, "--set", f"model.checkpoint={model_folder}")
    ran = run("export", small_job, *flags)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count(note) == 1, ran.stderr


def test_a_checkpoint_that_is_not_there(refuse_export: Refuse, tmp_path: Path) -> None:
    file = tmp_path / "no.pth"
    refuse_export(
        "--set", f"model.checkpoint={file}", says=(str(file), "does not exist", "give a file or a folder")
    )


def test_no_checkpoint_at_all(refuse_export: Refuse, small_job: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    text = small_job.read_text(encoding="utf-8").replace('checkpoint = "model"\n', "")
    job.write_text(text, encoding="utf-8")
    refuse_export(job=job, says=("model.checkpoint is missing", "yolox"))


def test_the_wrong_variant_for_a_checkpoint(refuse_export: Refuse) -> None:
    refuse_export(
        *("--set", "model.variant=tiny"),
        says=("yolox_nano.pth does not fit yolox_tiny", "is [", "expected [", "model.variant", "nano"),
    )


class Payload:
    """Unpickled, it makes a folder: harmless, and easy to see."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def in_a_bare_pickle(file: Path, payload: Payload) -> None:
    file.write_bytes(pickle.dumps({"weight": payload}))


def in_a_text_pickle(file: Path, payload: Payload) -> None:
    file.write_bytes(pickle.dumps({"weight": payload}, protocol=0))


def in_a_zip(file: Path, payload: Payload) -> None:
    torch.save({"model": {"weight": torch.zeros(1)}, "args": payload}, file)


def in_an_old_pth(file: Path, payload: Payload) -> None:
    torch.save({"weight": payload}, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize(
    "hide",
    [
        pytest.param(in_a_bare_pickle, id="a-bare-pickle"),
        pytest.param(in_a_text_pickle, id="a-pickle-of-protocol-0"),
        pytest.param(in_a_zip, id="beside-honest-weights"),
        pytest.param(in_an_old_pth, id="a-pth-from-before-zip-files"),
    ],
)
def test_code_in_a_checkpoint_does_not_run(
    refuse_export: Refuse,
    model_folder: Path,
    tmp_path: Path,
    hide: Callable[[Path, Payload], None],
    suffix: str,
) -> None:
    mark, file = tmp_path / "it-ran", model_folder / f"evil{suffix}"
    hide(file, Payload(mark))
    with suppress(RuntimeError):
        torch.load(file, weights_only=False)
    assert mark.is_dir(), "the payload is a dud, so this test would prove nothing"
    mark.rmdir()

    refuse_export(
        *("--set", f"model.checkpoint={file}"),
        says=(str(file), "torch.save(model.state_dict(), path)"),
    )
    assert not mark.exists()
