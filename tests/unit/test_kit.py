"""A kit goes out as plain files, and what a host returns is judged; what is planted is found."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import contract
from kits import ERROR, TWO, Host, answered, bundle, computed, edit

import onnxproof
from onnxproof import Verdict
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.export.finish import add_metadata
from onnxproof.runtime.manifest import GOLDEN_KEY
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.golden import file
from onnxproof.validate.golden.kit import PLAIN, bytes_of, decoded, encoded
from onnxproof.validate.golden.returned import MOST_BYTES


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return onnxproof.kit(bundle(tmp_path / "bundle"), out=tmp_path / "kit")


@pytest.fixture
def outputs(kit: Path, tmp_path: Path) -> Path:
    return answered(kit, tmp_path / "outputs")


def failed(verdict: Verdict) -> dict[str, str]:
    """The checks that failed, and the first reason of each."""
    return {check.name: check.reason for check in reversed(verdict.checks) if check.status == "fail"}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_healthy_host_passes_and_its_words_are_told(kit: Path, outputs: Path) -> None:
    verdict = onnxproof.judge(kit, outputs)
    assert verdict.passed, failed(verdict)
    assert {one.link: one.status for one in verdict.links} == {
        "function": "skipped",
        "runtime": "pass",
        "decisions": "skipped",
    }
    assert str(verdict).startswith("function   not shown: the outputs do not say which file they are of")
    assert "\nruntime    engine 2.0 (npu) errs 1 times what PyTorch errs in float32 (limit 2.7)\n" in str(
        verdict
    )
    assert verdict.environment["runtime"] == "engine"
    assert verdict.environment["providers"] == ["npu"]
    assert verdict.notes == (
        "verified with onnxruntime 1.31.1 on CPUExecutionProvider; here are outputs of engine 2.0 (npu)",
    )
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_a_kit_is_what_its_readme_says(kit: Path) -> None:
    assert {path.name for path in kit.iterdir()} == {
        *("README.md", "cases.txt", "contract.json", "golden.npz", "inputs", "kit.json", "model.onnx"),
    }
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    assert index["kit"] == hashlib.sha256((kit / "golden.npz").read_bytes()).hexdigest()
    assert index["model"] == {"file": "model.onnx", "sha256": hashlib.sha256(b"a model").hexdigest()}
    heading, *lines = (kit / "cases.txt").read_text(encoding="utf-8").splitlines()
    assert heading.split("\t") == ["onnxproof-kit", "1", index["kit"]]
    assert len(lines) == 6
    assert lines[2:4] == ["1\tx\tfloat32\t2,4\tinputs/01-0.bin", "1\tflags\tbool\t2,2\tinputs/01-1.bin"]
    for case in index["cases"]:
        for one in case["inputs"]:
            content = (kit / one["file"]).read_bytes()
            assert len(content) == np.prod(one["shape"]) * np.dtype(one["dtype"]).itemsize
            assert hashlib.sha256(content).hexdigest() == one["sha256"]


def test_the_same_bundle_gives_the_same_kit_and_a_kit_is_replaced(kit: Path, tmp_path: Path) -> None:
    before = files(kit)
    onnxproof.kit(tmp_path / "bundle", out=kit)
    assert files(kit) == before
    onnxproof.kit(tmp_path / "bundle", out=kit, model=False)
    assert set(before) - set(files(kit)) == {"model.onnx"}
    assert json.loads((kit / "kit.json").read_text(encoding="utf-8"))["model"]["file"] is None
    assert onnxproof.judge(kit, answered(kit, tmp_path / "without")).passed


def test_a_model_that_was_put_into_a_kit_without_one_is_kept(kit: Path, tmp_path: Path) -> None:
    onnxproof.kit(tmp_path / "bundle", out=kit, model=False)
    shutil.copy(tmp_path / "bundle" / "model.onnx", kit)
    with pytest.raises(RequestError, match=r"holds what onnxproof did not write \(model\.onnx\)"):
        onnxproof.kit(tmp_path / "bundle", out=kit)
    assert (kit / "model.onnx").is_file()


def test_weights_beside_the_model_go_with_it(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle")
    (made / "model.onnx.data").write_bytes(b"weights")
    told = {"data_sha256": hashlib.sha256(b"weights").hexdigest()}
    edit(made / "manifest.json", lambda document: document.update(told))
    kit = onnxproof.kit(made, out=tmp_path / "kit")
    assert (kit / "model.onnx.data").read_bytes() == b"weights"
    assert "`model.onnx`, the model, and `model.onnx.data`, its weights." in (kit / "README.md").read_text()
    outputs = answered(kit, tmp_path / "outputs")
    assert onnxproof.judge(kit, outputs).passed
    (kit / "model.onnx.data").write_bytes(b"other weights")
    reason = failed(onnxproof.judge(kit, outputs))["checksum"]
    assert "model.onnx.data is not the file that kit.json describes" in reason


def a_note(kit: Path) -> None:
    (kit / "notes.txt").write_text("mine")


def outputs_in_it(kit: Path) -> None:
    answered(kit, kit / "outputs")


def an_input_more(kit: Path) -> None:
    (kit / "inputs" / "picture.png").write_bytes(b"")


def an_input_of_the_name_of_one(kit: Path) -> None:
    (kit / "inputs" / "07-0.bin").write_bytes(b"mine")


def a_model_of_mine(kit: Path) -> None:
    (kit / "model.onnx").write_bytes(b"mine")


def weights_of_mine(kit: Path) -> None:
    (kit / "model.onnx.data").write_bytes(b"mine")


def an_input_of_mine(kit: Path) -> None:
    (kit / "inputs" / "00-0.bin").write_bytes(b"mine")


def golden_cases_of_mine(kit: Path) -> None:
    (kit / "golden.npz").write_bytes(b"mine")


def a_table_of_cases_of_mine(kit: Path) -> None:
    with (kit / "cases.txt").open("a", encoding="utf-8") as stream:
        stream.write("mine\n")


def a_contract_of_mine(kit: Path) -> None:
    (kit / "contract.json").write_text("{}")


def an_index_without_sums(kit: Path) -> None:
    (kit / "kit.json").write_text('{"format": 1, "kit": "", "model": {}, "outputs": [], "cases": []}')


def an_index_of_wrong_types(kit: Path) -> None:
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    index["cases"][0]["inputs"][0] |= {"dtype": 1, "shape": 2}
    (kit / "kit.json").write_text(json.dumps(index))


def a_folder_among_the_inputs(kit: Path) -> None:
    (kit / "inputs" / "99-0.bin").mkdir()
    (kit / "inputs" / "99-0.bin" / "notes.txt").write_text("mine")


def an_edited_readme(kit: Path) -> None:
    file = kit / "README.md"
    file.write_text("mine\n" + file.read_text(encoding="utf-8"), encoding="utf-8")


def no_index(kit: Path) -> None:
    (kit / "kit.json").unlink()


def a_package(kit: Path) -> None:
    (kit / "kit.json").write_text('{"name": "somebody\'s"}')


@pytest.mark.parametrize(
    "change",
    [
        *(a_note, outputs_in_it, an_input_more, a_folder_among_the_inputs, an_edited_readme, no_index),
        *(a_package, an_input_of_the_name_of_one, a_model_of_mine, weights_of_mine, an_input_of_mine),
        *(golden_cases_of_mine, a_table_of_cases_of_mine, a_contract_of_mine, an_index_without_sums),
        an_index_of_wrong_types,
    ],
)
def test_what_is_no_kit_alone_is_left_alone(
    kit: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(kit)
    before = files(kit)
    with pytest.raises(RequestError, match="kit replaces only kits that it wrote and empty folders"):
        onnxproof.kit(tmp_path / "bundle", out=kit)
    assert files(kit) == before


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot be written \(File name too long\)"):
        onnxproof.kit(bundle(tmp_path / "bundle"), out=tmp_path / ("k" * 300))


def test_a_kit_does_not_go_into_its_bundle(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle")
    for place in (made, made / "kit"):
        with pytest.raises(RequestError, match="writes into the bundle"):
            onnxproof.kit(made, out=place)


def another_model(made: Path) -> None:
    (made / "model.onnx").write_bytes(b"another")


def no_golden(made: Path) -> None:
    (made / "golden.npz").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (another_model, r"model\.onnx is not the file that manifest\.json describes"),
        (no_golden, r"golden\.npz, which manifest\.json names, is missing"),
    ],
    ids=["model", "golden"],
)
def test_no_kit_is_made_of_a_bundle_that_was_changed(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    made = bundle(tmp_path / "bundle")
    change(made)
    with pytest.raises(ModelFileError, match=said):
        onnxproof.kit(made, out=tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_no_kit_is_made_of_a_bundle_without_golden_cases(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle")
    edit(made / "manifest.json", lambda document: document.pop("golden_sha256"))
    with pytest.raises(ModelFileError, match=r"no golden_sha256, although golden\.npz is there"):
        onnxproof.kit(made, out=tmp_path / "kit")
    (made / "golden.npz").unlink()
    with pytest.raises(ModelFileError, match="has no golden cases"):
        onnxproof.kit(made, out=tmp_path / "kit")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TensorSpec("a\tb", "bool", ("batch", 2)), r"the name 'a\\tb' has characters"),
        (TensorSpec("flags", "bfloat16", ("batch", 2)), "flags is bfloat16, and the files of a kit"),
    ],
    ids=["a-tab", "bfloat16"],
)
def test_what_plain_files_cannot_hold_is_refused(tmp_path: Path, spec: TensorSpec, said: str) -> None:
    declared = replace(TWO, inputs=(TWO.inputs[0], spec))

    def network(inputs: Any, *more: Any) -> Any:
        return computed({"x": inputs["x"], "flags": [*inputs.values()][1]}, *more)

    made = bundle(tmp_path / "bundle", declared, network=network)
    with pytest.raises(RequestError, match=said):
        onnxproof.kit(made, out=tmp_path / "kit")


Change = Callable[[Path], object]


def document(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda folder: edit(folder / "outputs.json", change)


def file_change(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def exchange(one: str, other: str) -> Change:
    def change(folder: Path) -> None:
        contents = [(folder / name).read_bytes() for name in (one, other)]
        for name, content in zip((other, one), contents, strict=True):
            (folder / name).write_bytes(content)

    return change


def output(number: int, place: int = 0, **changes: Any) -> Change:
    return document(lambda told: told["cases"][number]["outputs"][place].update(changes))


def linked(name: str, target: Callable[[Path], Path]) -> Change:
    """A file is a link to where its content now is."""

    def change(folder: Path) -> None:
        shutil.move(folder / name, target(folder))
        (folder / name).symlink_to(target(folder))

    return change


def piped(name: str) -> Change:
    """A file is a pipe, which nobody writes into."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


PLANTED = {
    "a file is missing": (
        lambda folder: (folder / "case1-y").unlink(),
        ("runs", "1 of 3 cases, first two: case1-y is missing"),
    ),
    "a file ends early": (
        file_change("case1-y", lambda content: content[:-4]),
        ("runs", "case1-y has 28 bytes, and float32[2, 4] takes 32"),
    ),
    "a file is longer": (
        file_change("case1-y", lambda content: content + b"\0"),
        ("runs", "case1-y has 33 bytes"),
    ),
    "a case is missing": (
        document(lambda told: told["cases"].pop(1)),
        ("runs", "first two: outputs.json has no case 1: run every case of the kit"),
    ),
    "an output is missing": (
        document(lambda told: told["cases"][1]["outputs"].pop()),
        ("shapes", "first two: outputs y; expected y, z"),
    ),
    "an output is missing everywhere": (
        document(lambda told: [case["outputs"].pop() for case in told["cases"]]),
        ("interface", "outputs are y; expected y, z"),
    ),
    "an output more": (
        document(
            lambda told: told["cases"][0]["outputs"].append({**told["cases"][0]["outputs"][0], "name": "w"})
        ),
        ("shapes", "first one: outputs y, z, w; expected y, z"),
    ),
    "another dtype": (
        output(1, dtype="int32"),
        ("shapes", "first two: y is int32[2, 4]; expected float32[2, 4]"),
    ),
    "another shape": (output(1, shape=[4, 2]), ("shapes", "y is float32[4, 2]; expected float32[2, 4]")),
    "NaN": (
        file_change("case2-z", lambda content: np.float32(np.nan).tobytes() + content[4:]),
        ("finite", "NaN or infinity that PyTorch does not have, first in two again"),
    ),
    "another checksum of a file": (
        output(1, sha256="0" * 64),
        ("runs", "case1-y has another SHA-256 than outputs.json tells"),
    ),
    "a name that no file can have": (
        output(1, file="y" * 5000),
        ("runs", "cannot be read (File name too long): copy the whole folder"),
    ),
    "a folder for a file": (output(1, file="."), ("runs", "cannot be read (it is a folder)")),
    "a link out of the folder": (
        linked("case1-y", lambda folder: folder.parent / "elsewhere"),
        ("runs", "case1-y cannot be read (it leads out of the folder of outputs.json)"),
    ),
    "a folder that is a link out": (
        lambda folder: (
            (folder / "more").symlink_to(folder.parent),
            shutil.copy(folder / "case1-y", folder.parent / "case1-y"),
            output(1, file="more/case1-y")(folder),
        ),
        ("runs", "more/case1-y cannot be read (it leads out of the folder of outputs.json)"),
    ),
    "a pipe": (
        piped("case1-y"),
        ("runs", "case1-y cannot be read (it is a pipe or a device)"),
    ),
    "another byte order": (
        file_change("case1-y", lambda content: np.frombuffer(content, "<f4").byteswap().tobytes()),
        ("ratio_rms", "largest error"),
    ),
    "numbers that signal and overflow": (
        file_change("case1-y", lambda content: b"\x01\x00\xa0\x7f" + b"\xff\xff\x7f\x7f" + content[8:]),
        ("finite", "NaN or infinity that PyTorch does not have"),
    ),
    "another model": (
        document(lambda told: told.update(model_sha256="0" * 64)),
        ("checksum", "the host ran a model of the SHA-256 000"),
    ),
    "two cases exchanged": (exchange("case1-y", "case2-y"), ("ratio_rms", "largest error")),
    "two outputs exchanged": (exchange("case0-y", "case0-z"), ("ratio_rms", "largest error")),
}


@pytest.mark.parametrize(("change", "said"), PLANTED.values(), ids=PLANTED)
def test_planted_faults_of_outputs_fail(
    kit: Path, outputs: Path, change: Change, said: tuple[str, str]
) -> None:
    change(outputs)
    verdict = onnxproof.judge(kit, outputs)
    assert verdict.status == "fail"
    name, reason = said
    assert reason in failed(verdict)[name]


def test_links_within_the_folder_and_a_byte_order_mark_are_no_fault(kit: Path, outputs: Path) -> None:
    linked("case1-y", lambda folder: folder / "elsewhere")(outputs)
    file_change("outputs.json", lambda content: b"\xef\xbb\xbf" + content)(outputs)
    assert onnxproof.judge(kit, outputs).passed


def test_a_file_that_may_not_be_read_is_an_answer_that_is_not_there(
    kit: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refused(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "case1-y":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refused)
    reason = failed(onnxproof.judge(kit, outputs))["runs"]
    assert "case1-y cannot be read (Permission denied): copy the whole folder" in reason


def test_exchanged_files_are_named(kit: Path, outputs: Path) -> None:
    exchange("case1-y", "case2-y")(outputs)
    notes = onnxproof.judge(kit, outputs).notes
    assert notes[:2] == (
        "y of case 1 (two) holds what PyTorch answered for y of case 2 (two again): were files exchanged?",
        "y of case 2 (two again) holds what PyTorch answered for y of case 1 (two): were files exchanged?",
    )
    exchange("case1-y", "case2-y")(outputs)
    exchange("case0-y", "case0-z")(outputs)
    assert onnxproof.judge(kit, outputs).notes[:2] == (
        "y of case 0 (one) holds what PyTorch answered for z of case 0 (one): were files exchanged?",
        "z of case 0 (one) holds what PyTorch answered for y of case 0 (one): were files exchanged?",
    )


def rough(inputs: Any) -> Any:
    return computed(inputs, 1e3 * ERROR)


def turned(inputs: Any) -> Any:
    return {name: array[::-1] for name, array in computed(inputs).items()}


@pytest.mark.parametrize("host", [rough, turned], ids=["rough", "rows-in-another-order"])
def test_a_host_that_computes_otherwise_fails(kit: Path, tmp_path: Path, host: Host) -> None:
    verdict = onnxproof.judge(kit, answered(kit, tmp_path / "outputs", host))
    assert {"ratio_rms", "ratio_max"} <= failed(verdict).keys()
    assert verdict.links[1].status == "fail"


def test_names_in_another_order_are_no_fault(kit: Path, tmp_path: Path) -> None:
    def host(inputs: Any) -> Any:
        return dict(reversed(computed(inputs).items()))

    assert onnxproof.judge(kit, answered(kit, tmp_path / "outputs", host)).passed


def test_the_model_that_was_run_shows_the_function(kit: Path, tmp_path: Path) -> None:
    own = hashlib.sha256(b"a model").hexdigest()
    verdict = onnxproof.judge(kit, answered(kit, tmp_path / "outputs", model_sha256=own))
    assert verdict.passed
    assert verdict.links[0].status == "pass"
    (kit / "model.onnx").write_bytes(b"another")
    verdict = onnxproof.judge(kit, tmp_path / "outputs")
    assert "model.onnx is not the file that kit.json describes" in failed(verdict)["checksum"]
    assert verdict.links[0].status == "fail"


def test_a_bundle_that_was_not_proven_is_told(tmp_path: Path) -> None:
    kit = onnxproof.kit(bundle(tmp_path / "bundle", verdict="fail"), out=tmp_path / "kit")
    verdict = onnxproof.judge(kit, answered(kit, tmp_path / "outputs"))
    assert failed(verdict).keys() == {"verified"}


REFUSED = {
    "no index": (lambda folder: (folder / "outputs.json").unlink(), "No such file or directory"),
    "no JSON": (file_change("outputs.json", lambda content: content[:-1]), "it is no JSON"),
    "an index that is a link out of the folder": (
        linked("outputs.json", lambda folder: folder.parent / "elsewhere"),
        "cannot be read (it leads out of the folder of outputs.json)",
    ),
    "an index that is a pipe": (
        piped("outputs.json"),
        "cannot be read (it is a pipe or a device)",
    ),
    "no text": (file_change("outputs.json", lambda content: b"\xff" + content), "cannot be read"),
    "a list": (file_change("outputs.json", lambda content: b"[]"), "expected an object"),
    "a newer format": (document(lambda told: told.update(format=2)), "its format is 2, expected 1"),
    "another kit": (document(lambda told: told.update(kit="0" * 64)), "are of the kit 000000000000…, and"),
    "no runtime": (document(lambda told: told.pop("runtime")), "lacks the key 'runtime'"),
    "a runtime without a name": (
        document(lambda told: told["runtime"].update(name="")),
        'runtime.name is "", expected a text that is not empty',
    ),
    "a runtime of two lines": (
        document(lambda told: told["runtime"].update(name="a\nb")),
        "runtime.name is \"a\\nb\", expected a text in one line",
    ),
    "an unknown key": (document(lambda told: told.update(notes="")), 'the unknown key "notes"'),
    "no case": (document(lambda told: told["cases"].clear()), "expected at least one case"),
    "a case twice": (document(lambda told: told["cases"][1].update(case=0)), "expected each case once"),
    "a case of no number": (document(lambda told: told["cases"][1].update(case=3)), "from 0 to 2"),
    "an output twice": (output(0, 1, name="y"), "expected each output once"),
    "an unknown dtype": (output(0, dtype="float"), 'dtype is "float", expected one of float16'),
    "a negative size": (output(0, shape=[-1, 4]), "shape[0] is -1, expected a whole number"),
    "too many axes": (output(0, shape=[1] * 65), "at most 64 axes"),
    "too large": (output(0, shape=[2**31 - 1, 4]), f"at most {MOST_BYTES:,} bytes"),
    "a file elsewhere": (output(0, file="../kit/model.onnx"), "a file in the folder of outputs.json"),
    "an absolute file": (output(0, file="/etc/hostname"), "a file in the folder of outputs.json"),
    "no checksum": (output(0, sha256="abc"), "expected a SHA-256"),
    "a file of no name": (output(0, file="y\0"), "a file in the folder of outputs.json"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_an_index_that_is_wrong_is_refused(kit: Path, outputs: Path, change: Change, said: str) -> None:
    change(outputs)
    with pytest.raises(ModelFileError) as refused:
        onnxproof.judge(kit, outputs)
    assert said in str(refused.value)
    assert "outputs.json" in str(refused.value)


def tampered(name: str) -> Change:
    """A bit of a file of the kit is another."""

    def change(kit: Path) -> None:
        content = bytearray((kit / name).read_bytes())
        content[len(content) // 2] ^= 1
        (kit / name).write_bytes(content)

    return change


def tampered_with_its_sum(kit: Path) -> None:
    """golden.npz is another, and kit.json agrees."""
    other = onnxproof.kit(bundle(kit.parent / "other", verdict="error"), out=kit.parent / "other kit")
    shutil.copy(other / "golden.npz", kit / "golden.npz")
    found = hashlib.sha256((kit / "golden.npz").read_bytes()).hexdigest()
    edit(kit / "kit.json", lambda index: index.update(kit=found))


def a_model_of_other_cases(kit: Path) -> None:
    """The model tells which cases it was verified on."""
    (kit / "model.onnx").write_bytes(b"")
    add_metadata(kit / "model.onnx", "more", "of others")
    add_metadata(kit / "model.onnx", GOLDEN_KEY, '{"cases":4,"sha256":"…"}')


TAMPERED = {
    "golden cases of another model": (a_model_of_other_cases, 'it has 3, and the model tells {"cases":4,'),
    "golden.npz": (tampered("golden.npz"), "golden.npz is not as onnxproof kit wrote it (its SHA-256"),
    "contract.json": (tampered("contract.json"), "contract.json is not as onnxproof kit wrote it"),
    "an input": (tampered("inputs/01-0.bin"), "inputs/01-0.bin is not as onnxproof kit wrote it"),
    "cases.txt": (tampered("cases.txt"), "cases.txt is not as onnxproof kit wrote it"),
    "golden.npz and its sum": (tampered_with_its_sum, "cases.txt is not as onnxproof kit wrote it"),
    "a shape": (
        lambda kit: edit(kit / "kit.json", lambda index: index["cases"][0]["inputs"][0].update(shape=[4, 1])),
        "cases[0].inputs[0].shape[0] is not what follows from golden.npz",
    ),
    "cases in another order": (
        lambda kit: edit(kit / "kit.json", lambda index: index["cases"].reverse()),
        "cases[0].case is not what follows from golden.npz",
    ),
    "the model's sum": (
        lambda kit: edit(kit / "kit.json", lambda index: index["model"].update(sha256="0" * 64)),
        "model.sha256 is not what follows from golden.npz",
    ),
    "no JSON": (lambda kit: (kit / "kit.json").write_text("{"), "kit.json is not as onnxproof kit wrote it"),
    "a newer format": (
        lambda kit: edit(kit / "kit.json", lambda index: index.update(format=2)),
        "kit.json is not as onnxproof kit wrote it (its format is 2, expected 1",
    ),
    "a key more": (
        lambda kit: edit(kit / "kit.json", lambda index: index.update(more=1)),
        'the unknown key "more"',
    ),
    "a number for a truth": (
        lambda kit: edit(kit / "kit.json", lambda index: index["cases"][1].update(case=True)),
        "cases[1].case is not what follows from golden.npz",
    ),
    "an empty object more": (
        lambda kit: edit(kit / "kit.json", lambda index: index["cases"][0].update(more={})),
        "cases[0].more is not what follows from golden.npz",
    ),
    "an index that is a pipe": (
        piped("kit.json"),
        "kit.json cannot be read (it is a pipe or a device)",
    ),
    "no index": (lambda kit: (kit / "kit.json").unlink(), "kit.json cannot be read"),
    "no truth": (lambda kit: (kit / "golden.npz").unlink(), "golden.npz cannot be read"),
    "no input": (lambda kit: (kit / "inputs" / "02-1.bin").unlink(), "02-1.bin cannot be read"),
}


@pytest.mark.parametrize(("change", "said"), TAMPERED.values(), ids=TAMPERED)
def test_a_kit_that_was_changed_is_refused(kit: Path, outputs: Path, change: Change, said: str) -> None:
    change(kit)
    with pytest.raises(ModelFileError) as refused:
        onnxproof.judge(kit, outputs)
    assert said in str(refused.value)


def test_outputs_of_another_kit_are_refused(outputs: Path, tmp_path: Path) -> None:
    other = onnxproof.kit(bundle(tmp_path / "other", verdict="error"), out=tmp_path / "other kit")
    with pytest.raises(ModelFileError, match="run this kit's cases, or name the kit that was run"):
        onnxproof.judge(other, outputs)


def test_another_numpy_takes_the_inputs_from_the_files(
    kit: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NumPy that draws other numbers from a seed."""

    def drawn(case: Case, *more: Any) -> Any:
        return materialise(replace(case, seed=case.seed + 9), *more)

    monkeypatch.setattr(file, "materialise", drawn)
    assert onnxproof.judge(kit, outputs).passed


def test_cases_of_equal_inputs_are_judged_each_by_its_own_outputs(tmp_path: Path) -> None:
    fixed = replace(
        TWO,
        inputs=(TensorSpec("x", "float32", ("batch", 4), (1, 1)), TensorSpec("flags", "bool", ("batch", 0))),
    )
    kit = onnxproof.kit(bundle(tmp_path / "bundle", fixed), out=tmp_path / "kit")
    outputs = answered(kit, tmp_path / "outputs")
    index = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
    first, second = (case["inputs"][0]["sha256"] for case in index["cases"][1:])
    assert first == second
    assert onnxproof.judge(kit, outputs).passed
    (outputs / "case2-y").unlink()
    assert "1 of 3 cases, first two again" in failed(onnxproof.judge(kit, outputs))["runs"]


@pytest.mark.parametrize("dtype", PLAIN)
def test_each_dtype_goes_out_and_comes_back(dtype: str) -> None:
    array = (np.arange(6).reshape(2, 3) % 2).astype(dtype)
    content = encoded(array)
    assert len(content) == bytes_of(dtype, array.shape)
    back = decoded(content, dtype, array.shape)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert encoded(array.astype(array.dtype.newbyteorder(">"))) == content
    assert encoded(array.T) == encoded(array.T.copy())


def test_scalars_and_nothing_go_out_and_come_back() -> None:
    assert decoded(encoded(np.array(2, np.float32)), "float32", ()).shape == ()
    assert decoded(b"", "int64", (0, 3)).shape == (0, 3)


def test_a_bool_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a bool is another byte than 0 or 1"):
        decoded(b"\0\1\2", "bool", (3,))


def test_a_contract_without_axes_makes_a_kit(tmp_path: Path) -> None:
    declared = contract(
        name="alone",
        inputs=TWO.inputs,
        outputs=TWO.outputs,
        dims=(Dim("batch", 2, 2),),
        fields=TWO.fields,
    )
    kit = onnxproof.kit(bundle(tmp_path / "bundle", declared), out=tmp_path / "kit")
    assert onnxproof.judge(kit, answered(kit, tmp_path / "outputs")).passed


def test_a_bundle_in_one_file_gives_the_same_kit(kit: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted((tmp_path / "bundle").iterdir()):
            opened.write(path, path.name)
    assert files(onnxproof.kit(archive, out=tmp_path / "again")) == files(kit)
    with pytest.raises(RequestError, match="would be"):
        onnxproof.kit(archive, out=archive.parent)
