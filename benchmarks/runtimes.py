"""Reports of runtimes that differ, rebuilt small: what the table of runtimes says of each.

Each report is a PyTorch module that holds the reported pattern. Its file is tried in the runtimes that are
here; a runtime that is absent is skipped by name. Reports that need other hardware are listed, with why.
Prints the tables; --write puts them into RUNTIMES.md.

python benchmarks/runtimes.py [--only NAME...] [--runtime NAMES] [--write]
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import onnxproof
from onnxproof.validate.report.runtimes import runtime_cells
from onnxproof.validate.verdict import Verdict

PAGE = Path(__file__).parent / "RUNTIMES.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
RUNTIMES = "ort,ort-web,openvino,openvino-auto,reference"
SEED = 1


class PaddedMean(nn.Module):
    """Zeros around a picture, and then a mean that does not count its own padding."""

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1))
        return functional.avg_pool2d(padded, 3, stride=1, padding=1, count_include_pad=False)


class Spread(nn.Module):
    """A transposed convolution with dilation and output padding, as the report's commentator gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 3, kernel_size=2, stride=1, padding=3, dilation=2, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)  # type: ignore[no-any-return]


class BatchMean(nn.Module):
    """Two convolutions and a mean over all axes but the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean(dim=(1, 2, 3))  # type: ignore[no-any-return]


class Places(nn.Module):
    """The place of the largest, or of the smallest, of numbers among which are equal ones."""

    def __init__(self, *, smallest: bool) -> None:
        super().__init__()
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.round(x * 4)
        return steps.argmin(1) if self.smallest else steps.argmax(1)


class Kept(nn.Module):
    """Boxes and scores, of which NMS in the graph keeps the best."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.heads(x)
        corner, size = found[:, :2] * 20, found[:, 2:4].abs() * 10 + 1
        boxes, scores = torch.cat([corner, corner + size], 1), found[:, 4].sigmoid()
        kept = torchvision.ops.nms(boxes, scores, 0.5)
        return boxes[kept], scores[kept]


class Products(nn.Module):
    """Several products of matrices with a curve between."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers = (nn.Sequential(nn.Linear(width, width), nn.SiLU()) for _ in range(depth))
        self.layers = nn.Sequential(*layers, nn.Linear(width, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Quantized(nn.Module):
    """A convolution between quantisers, all in float32: QuantizeLinear and DequantizeLinear in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        quantized = torch.fake_quantize_per_tensor_affine(x, 1 / 64, 128, 0, 255)
        weight = torch.fake_quantize_per_tensor_affine(self.conv.weight, 1 / 256, 0, -128, 127)
        found = functional.conv2d(quantized, weight, self.conv.bias, padding=1)
        return torch.fake_quantize_per_tensor_affine(found, 1 / 32, 128, 0, 255)


@dataclass(frozen=True)
class Report:
    """A report, and the module that holds its pattern."""

    name: str
    source: str
    pattern: str
    module: Callable[[], nn.Module]
    inputs: Mapping[str, str]
    dims: Mapping[str, str] = field(default_factory=lambda: {"batch": "1..4"})


PICTURE = {"x": "float32[batch, 3, 16, 16] in -1..1"}

REPORTS = (
    Report(
        "pad-fusion",
        "onnxruntime#22177 (1.19.2)",
        "Pad fused into an AveragePool that does not count padding",
        PaddedMean,
        PICTURE,
    ),
    Report(
        "transposed-convolution",
        "onnxruntime#14208 (1.13.1), #25210",
        "ConvTranspose with dilation and output padding",
        Spread,
        {"x": "float32[batch, 1, 8, 8] in -1..1"},
    ),
    Report(
        "batch-mean",
        "onnxruntime#20357 (OpenVINO 2023.1)",
        "a mean over all axes but the batch",
        BatchMean,
        PICTURE,
    ),
    Report(
        "largest-place",
        "openvino#30666 (2025.1)",
        "ArgMax among equal numbers",
        lambda: Places(smallest=False),
        {"x": "float32[batch, 16] in -1..1"},
    ),
    Report(
        "smallest-place",
        "openvino#13491 (2022.2)",
        "ArgMin among equal numbers",
        lambda: Places(smallest=True),
        {"x": "float32[batch, 16] in -1..1"},
    ),
    Report(
        "suppression",
        "openvino#16261 (2022.3)",
        "NonMaxSuppression in the graph",
        Kept,
        {"x": "float32[count, 8] in -1..1"},
        {"count": "8..32"},
    ),
    Report(
        "other-processor",
        "openvino#27795 (2023.3)",
        "products of matrices that differ from one processor to the next",
        lambda: Products(64, 4),
        {"x": "float32[batch, 64] in -1..1"},
    ),
    Report(
        "bfloat16-product",
        "openvino#38256 (2026.4.0)",
        "products of matrices in bfloat16 on AVX-512 without AMX",
        lambda: Products(256, 2),
        {"x": "float32[batch, 256] in -1..1"},
    ),
    Report(
        "quantised-convolution",
        "onnxruntime#24711 (1.19.2)",
        "Conv between QuantizeLinear and DequantizeLinear",
        Quantized,
        PICTURE,
    ),
)

ELSEWHERE = {
    "onnxruntime#10636": "a quantised ViT on CUDA beside the CPU: needs a GPU, and the reporter's files",
    "onnxruntime#25210, #25051": "the CUDA half: needs a GPU; the CPU half of #25210 is rebuilt above",
    "onnxruntime#24070, #25029": "WebGPU beside WebAssembly: needs a browser with a GPU. They call "
    "WebAssembly right",
    "onnxruntime#9582": "DirectML beside the CPU: needs Windows",
    "onnxruntime#22866, #25198, #21275": "not rebuilt: their texts were not at hand",
}
"""Reports that cannot be shown on a machine without a GPU, and why."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [report.name for report in REPORTS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, default=names)
    parser.add_argument("--runtime", default=RUNTIMES, metavar="NAMES")
    parser.add_argument("--write", action="store_true", help="put the tables into RUNTIMES.md")
    arguments = parser.parse_args()
    parts = []
    for report in REPORTS:
        if report.name in arguments.only:
            parts.append("\n".join(told(report, verdict_of(report, [arguments.runtime]))))
            print(parts[-1], flush=True)
    rows = (f"| {source} | {reason} |" for source, reason in ELSEWHERE.items())
    parts.append("\n".join(("### Not shown here", "", "| report | why |", "| --- | --- |", *rows)))
    if arguments.write:
        write("\n\n".join(parts))


def verdict_of(report: Report, runtimes: list[str]) -> Verdict:
    """The verdict on a report's file in some runtimes."""
    torch.manual_seed(SEED)
    module = report.module().eval()
    with TemporaryDirectory() as folder:
        target = Path(folder) / report.name
        onnxproof.export_module(
            module,
            inputs=report.inputs,
            dims=report.dims,
            out=target,
            set=("validate.threads=1",),
            validate=False,
        )
        return onnxproof.validate(target, model=module, runtimes=runtimes)


def told(report: Report, verdict: Verdict) -> Iterator[str]:
    """A section of the page."""
    yield f"### {report.name}: {report.source}"
    yield ""
    yield f"{report.pattern[0].upper()}{report.pattern[1:]}. Verdict: **{verdict.status}**."
    yield ""
    yield "| runtime | where | link runtime | verdict |"
    yield "| --- | --- | --- | --- |"
    for runtime, where, errors, _, status in runtime_cells(verdict):
        yield f"| {runtime} | {where} | {errors} | {status} |"
    own = {row.leg for row in verdict.runtimes}
    failed = [check for check in verdict.checks if check.status == "fail"]
    first: dict[str | None, str] = {}
    for check in failed:
        first.setdefault(check.leg, f"`{check.name}`: {check.reason}")
    for leg, reason in first.items():
        yield ""
        yield f"- {leg if leg in own else 'the file'}: {reason}"


def write(text: str) -> None:
    """Put what was measured between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
