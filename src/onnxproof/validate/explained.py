"""What each check means, why it fails in practice, and what to do: the text of ``onnxproof explain``."""

from dataclasses import dataclass

from onnxproof.validate.checks import Check, Link
from onnxproof.validate.hazards import FROZEN_AXES, HAZARDS


@dataclass(frozen=True, slots=True)
class Explained:
    """A check in words. ``means`` is what it measures, ``fails`` why it fails in practice, ``do`` the next
    steps."""

    name: str
    link: Link
    means: str
    fails: str
    do: str


def _said(name: str, means: str, fails: str, do: str, *, leg: str | None = None) -> Explained:
    return Explained(name, Check(name, "pass", "", leg=leg).link, means, fails, do)


MEASURED = (
    _said(
        "function",
        "the file's graph, evaluated in float64, against the model in float64: their difference, rms or "
        "largest, in units of PyTorch's own float32 error. Both sides are exact, so the limit is a "
        "thousandth. In a comparison of two files without a checkpoint, A's graph takes the model's place.",
        "the exporter or the simplifier wrote another function: an approximation (GELU by tanh), another "
        "epsilon, a weight that was changed, a size or a branch that was frozen.",
        'onnxproof bisect names the first node that differs. Export with simplify = "none", then with the'
        " other exporter: the verdict of an export says which step changed the function.",
        leg="onnx-float64",
    ),
    _said(
        "folding",
        "each tensor that onnxproof folded a batch norm into is the float64 fold, rounded once.",
        "a module changes its weights when they are read or copied.",
        "set export.fold_batch_norms = false, and report the model.",
    ),
    _said(
        "folded",
        "in the finished file, each tensor that onnxproof folded a batch norm into is still the float64 "
        "fold, rounded once. The file's metadata says which norms these are.",
        "the file was rewritten or edited after its export, or a simplifier computed the tensor anew.",
        'export again; if that fails alike, with simplify = "none".',
    ),
    _said(
        "tables",
        "each row of a table that is looked up by index is the checkpoint's (or A's), or a case reads it, or "
        "the declared ranges keep every index from it.",
        "two rows of an embedding were exchanged, rows were overwritten, or a table was cut; no case has an "
        "id that reads them.",
        "compare the table's rows with the checkpoint's, and export again. If nothing ever reads the rows, "
        "declare the range of the ids.",
    ),
    _said(
        "unseen",
        "each constant that stands for a tensor of the checkpoint (or of A) holds its numbers, or a case "
        "shows what the other numbers do: with the right ones in their place the file answers otherwise.",
        "a weight was damaged, exchanged or taken from another training in front of a decision (an argmax, a "
        "top-k, a threshold, a codebook), or in a branch that few inputs take: every case decides alike.",
        "compare the tensor that the reason names with the checkpoint's, and export again. If the other "
        "numbers are right, name inputs that show it (validate.images, wider ranges of the inputs).",
    ),
    _said(
        "interface",
        "names, dtypes, ranks and axes of the file's inputs and outputs are the declared ones.",
        "an axis that is declared dynamic was frozen at the size of the capture; outputs changed their "
        "order.",
        "look for int(x.shape[...]) and Python arithmetic on sizes in the model's forward; declare in "
        "[dims] only what has to vary.",
    ),
    _said(
        "runs",
        "the file runs on every case: all sizes, batches and contents that are tried.",
        "a Reshape, an Expand or a position table holds the size of the capture.",
        "the reason names the node and the constant; make the size follow from x.shape, or fix it in [dims].",
    ),
    _said(
        "shapes",
        "outputs have the shapes and dtypes of PyTorch's on every case.",
        "a size rounds otherwise in the file (ceil_mode, scale_factor), or rows are missing.",
        "compare the shapes in the reason; write sizes as integers, not as scale factors.",
    ),
    _said(
        "state",
        "the model answers alike when it is run again on the same input, right after and after another "
        "input of the same sizes.",
        "it keeps something from run to run (a mean over the frames of a video), or draws random numbers "
        "(dropout in training mode).",
        "call eval(), and pass the state as an input and an output.",
    ),
    _said(
        "finite",
        "NaN and infinity only where PyTorch has them.",
        "a mask of -inf meets a row that is masked whole; float16 overflows; a division by a zero that "
        "PyTorch avoids.",
        "bisect names the node; clamp before it, or mask with a large negative number.",
    ),
    _said(
        "ratio_rms",
        "the rms error of the file in its runtime, over PyTorch's own in float32. About 1 is right; the "
        "limit is 2.7.",
        "if function passes: a rough kernel or a fusion of this runtime. If function was not evaluated: "
        "any fault.",
        'try validate.optimization = ["none"], another provider, another onnxruntime; onnxproof bisect '
        "names the node.",
    ),
    _said(
        "ratio_max",
        "the largest error of the file in its runtime, over PyTorch's own. The limit is 5.",
        "as ratio_rms, in few numbers: a border, a corner, one channel.",
        "look at the case in the reason, then as for ratio_rms.",
    ),
    _said(
        "ratio_constant",
        "the same two ratios on inputs of one value, where roundings add up. The limit is 100.",
        "a fault that only shows on black or white pictures, such as a division by a standard deviation "
        "of zero.",
        "as for ratio_rms.",
    ),
    _said(
        "kernels",
        "each node that ONNX Runtime runs against itself in float64, on the runtime's own inputs, within the "
        "rounding bound of its operator. Asked where the runtime errs more than the limits allow although "
        "the file states the right function, and where PyTorch's own error is no yardstick. If it passes, "
        "digits tells a rough kernel from a graph that loses digits.",
        "a kernel of the runtime that is wrong, and not only rough.",
        "the reason names the node: try another version of ONNX Runtime or a lower level of optimization, "
        "and report it.",
    ),
    _said(
        "casts",
        "how far the file's casts to float32 move a float64 output, in units of float32's rounding of its "
        "largest value. The limit is 0.001. Asked where the model answers in float64 and the file has such "
        "casts; it passes where PyTorch has steps in float32, too.",
        "an exporter or a converter that goes through float32, so that half of the digits are lost.",
        "the reason names the node: remove it, or export again.",
    ),
    _said(
        "digits",
        "the error that the file's graph would make if each of its nodes were computed exactly and rounded "
        "once, over PyTorch's own in float32. Asked where the runtime errs more than the limits allow and "
        "each node is within its rounding bound: either a kernel is rough, or the graph loses digits.",
        "a way of computing that is right on paper and loses digits in float32, where PyTorch computes "
        "another way: a variance as E[x^2] - E[x]^2, Log(1 + x) for log1p, Log(Sum(Exp)) for logsumexp.",
        "the reason names the node at which the digits are lost. Mend the graph there, in the exporter or "
        "the rewrite that wrote it; another runtime does not help. If it names GroupNormalization, which "
        "ONNX Runtime computes by the first of these ways, export at opset 20 or below.",
    ),
    _said(
        "max_error",
        "the largest error of an output that has no float64 value, as a share of its largest value.",
        "as ratio_rms; the limit is a fixed tolerance, and so it is blunt.",
        "the note says why there is no float64 value; mend that to get a sharp verdict.",
    ),
    _said(
        "flips",
        "labels that differ although the oracle was sure: its lead over the next class exceeds the error "
        "bound. Of numbers that the model rounds or compares, those whose float lies farther from its "
        "boundary than that bound. Of other integers, the values that differ.",
        "classes in another order, an ArgMax over another axis, scores that are wrong; a float that is wrong "
        "before it is rounded; integers that the file divides as floats, which lose digits beyond 16777216.",
        "look at the scores' own checks first; a label follows from them. Divide integers with //. For "
        "rounded numbers, run onnxproof bisect: it names the node.",
    ),
    _said(
        "compared",
        "every field had values to compare.",
        "the file ran on no case, or the model returns nothing on them.",
        "look at runs and shapes first; name pictures that show something.",
    ),
    _said(
        "held_back",
        "the share of rows that could not be measured, since the other side has no counterpart. The checks "
        "rows and decisions judge them all the same.",
        "an untrained two-stage detector: all of its proposals score alike, and float error turns their "
        "choice; or a file that returns rows which the other does not.",
        "look at rows first; use the trained checkpoint, and pictures with objects.",
    ),
    _said(
        "rows",
        "all rows that either side returns, where NMS is in the graph: each is matched, a tie or a defect.",
        "another IoU or score threshold in the graph, a dropped row.",
        "compare the thresholds of the job with those of the graph (onnxproof inspect).",
    ),
    _said(
        "order",
        "rows come in the order that the contract states, where onnxproof put NMS into the graph: the first "
        "picture's first, of each picture the best score first. Scores that are equal within float error may "
        "swap. For a file from elsewhere it is only a note.",
        "a TopK that takes the smallest, a Concat or a Gather that was changed, NMS written by another tool.",
        "a host that takes the first rows, or splits them by pictures, gets the wrong ones: export again.",
    ),
    _said(
        "decisions",
        "what both decide in the end, on your pictures: matched, ties, defects. One defect fails.",
        "numbers that are wrong (see the other links), classes in another order, another threshold.",
        "the first defect names its picture; predict with --draw shows it. An error means that PyTorch "
        "decided nothing: name pictures with objects in validate.images.",
    ),
    _said(
        "dataset",
        "mAP or accuracy of both legs on labelled pictures, and that each difference is a tie.",
        "a decision that differs and is no tie, see decisions.",
        "look at the check decisions first.",
    ),
    _said(
        "pictures",
        "validate --images: all of very many pictures, each as predict sees it. The figure counts the checks "
        "that fail on them: runs, shapes, finite values, errors in ratio to PyTorch's, decisions. If "
        "pictures cannot be used, here or with check --images, the others are judged and it is an error.",
        "something that few pictures show: a class or a size that the job's own pictures lack, a value that "
        "overflows on dark pictures.",
        "the reason names the check and a picture. Put that picture into validate.images: the verdict then "
        "looks at its nodes, and onnxproof bisect --case finds it.",
    ),
    _said(
        "pipeline",
        "on your pictures, the decisions of onnxproof predict against those of the framework's own pipeline, "
        "from the picture's file to the boxes in it. Each difference is traced to a stage by exchanging one "
        "stage at a time: reading, preprocessing, graph, settings, decoding, the way back.",
        "the picture is resized with another filter, padded elsewhere, or its channels are swapped; another "
        "threshold; another normalisation.",
        "the reason names the stage and both values: set the key of [predict] or [validate] to the "
        "framework's, or leave it out where the family knows it.",
    ),
    _said(
        "checksum",
        "model.onnx is the file that manifest.json or kit.json describes; so is the file that a host ran, if "
        "the host says which.",
        "the file was replaced or edited after the export.",
        "export again, or judge the other file with --onnx.",
    ),
    _said(
        "manifest",
        "manifest.json, the metadata in model.onnx and the graph say the same, and golden.npz and "
        "parity.json beside them are of this model.",
        "one was edited by hand, or copied from another bundle: classes in another order, other sizes.",
        "export again with the job that has the values you want.",
    ),
    _said(
        "signature",
        "the signature beside the bundle is that of the key that was given, and covers each byte.",
        "the bundle or its signature was changed or left out, or another key signed it.",
        "copy both again from whoever signed them; do not run the bundle until it holds.",
    ),
    _said(
        "golden",
        "golden.npz is the file that manifest.json describes, and its cases were recorded for this "
        "model.onnx and the metadata in it.",
        "a file of another bundle was copied into this one, or one was edited.",
        "copy the whole bundle again, or export it again.",
    ),
    _said(
        "verified",
        "the verdict of the export that recorded the golden cases was pass.",
        "the bundle was shipped although its verdict was not.",
        "read its parity.json; mend the export first.",
    ),
    _said(
        "inputs",
        "golden cases that are drawn from a seed are, to the bit, those that were recorded.",
        "another version of NumPy draws other numbers from the seed.",
        "run the self-test with the version of NumPy that the note names, or export again with yours.",
    ),
    _said(
        "float32",
        "the bundle in float32, from which the file of lower precision was made: its links are passed.",
        "never: a file of lower precision is made only from one that passes.",
        "read the float32 bundle's own parity.json for what was proven.",
    ),
    _said(
        "changed",
        "at most the budget's share of decisions differs from float32's, with the budget's confidence.",
        "a precision is too coarse for some node, or calibration saw other pictures than these.",
        "let the search keep more nodes in float32, calibrate on more pictures, or raise the budget.",
    ),
    _said(
        "box",
        "no box of a decision that is kept moved by more pixels than the budget allows.",
        "what decodes boxes, or the layer before it, runs in a coarse precision.",
        "keep these nodes in float32: export with precision.search, or exclude them where you quantise.",
    ),
    _said(
        "score",
        "no score of a decision that is kept moved by more than the budget allows.",
        "calibration clipped what the scores are made of, or one scale serves boxes and scores.",
        "calibrate by another method, or keep the heads in float32.",
    ),
    _said(
        "map_drop",
        "mAP, or the task's own figure on labelled pictures, falls by at most the budget.",
        "many small changes add up although each stays within its own limit.",
        "look at changed first; then let the search keep more nodes in float32.",
    ),
    _said(
        "batches",
        "the file decides on the pictures of a batch as on each picture alone, within the budget.",
        "the graph holds a batch of one, or answers for the first picture of a batch.",
        "quantise a file that validate passes; if it is run on one picture at a time, say dims.batch = 1.",
    ),
    _said(
        "declared_sizes",
        "the file answers at the sizes of [dims] that are tried, and most decisions there are float32's.",
        "the graph is frozen at one size, or calibration saw one size only.",
        "quantise a file that validate passes, calibrate on more sizes, or narrow [dims] to those in use.",
    ),
)
"""The checks that run or read something beyond the graph."""

EXPLAINED = {
    entry.name: entry
    for entry in (
        *MEASURED,
        *(
            _said(
                one.name, f"the hazard {one.name}, read in the graph without running it.", one.why, one.remedy
            )
            for one in (*HAZARDS, FROZEN_AXES)
        ),
    )
}
"""Every check by name."""
