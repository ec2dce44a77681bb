"""Each kind of fault is planted by a test of the short run, which leaves out what is marked slow."""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PLANTED = {
    "interface": (
        "test_outputs_in_another_order_fail_by_the_interface",
        "test_swapped_outputs_fail_by_their_shapes",
    ),
    "values": ("test_damaged_numbers_fail_by_their_ratio", "test_a_nan_on_one_kind_of_input_fails"),
    "sizes": ("test_a_frozen_height_fails", "test_sizes_that_a_trace_bakes_in_are_found"),
    "batch": ("test_a_batch_that_answers_only_its_first_picture_fails",),
    "simplifier": (
        "test_a_simplifier_that_fails_is_told",
        "test_a_simplifier_that_breaks_the_numbers_is_dropped_and_the_verdict_says_why",
    ),
    "decisions": (
        "test_a_half_cell_grid_offset_fails_and_moves_the_detections",
        "test_damage_that_changes_classes_is_a_defect",
    ),
    "hazards": ("test_what_is_planted_is_named",),
    "bisect": ("test_a_named_node_comes_with_all_that_tells_of_it",),
    "compare": ("test_healthy_exports_pass_and_a_fault_does_not",),
    "outputs of a host": ("test_planted_faults_of_outputs_fail", "test_a_kit_that_was_changed_is_refused"),
    "command line": ("test_a_verdict_of_fail_is_exit_code_1", "test_a_checkpoint_that_does_not_fit"),
}
"""Kinds of fault, and tests that plant one. If you rename such a test, rename it here; if you mark it slow,
name another that plants the kind."""


def names_in(file: Path) -> dict[str, bool]:
    """The tests of a file, each with whether the whole of it is marked slow or long."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name: any(
            ast.unparse(mark).startswith(("pytest.mark.slow", "pytest.mark.long"))
            for mark in node.decorator_list
        )
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


@functools.cache
def all_names() -> dict[str, bool]:
    """The tests of all files, as ``names_in`` gives them."""
    return {name: slow for file in TESTS.rglob("test_*.py") for name, slow in names_in(file).items()}


@pytest.mark.parametrize(("kind", "tests"), PLANTED.items(), ids=PLANTED)
def test_the_short_run_plants_each_kind_of_fault(kind: str, tests: tuple[str, ...]) -> None:
    slow = all_names()
    assert {name: slow.get(name, "no such test") for name in tests} == dict.fromkeys(tests, False)
