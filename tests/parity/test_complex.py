"""Networks with complex values and Fourier transforms inside, through the function link."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from functions import Form, Module, exported
from torch import Tensor, nn

import onnxproof
from onnxproof.graph import OnnxGraph
from onnxproof.job import Job
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.record import known_of_module

FIELDS = (
    {"x": "float32[batch, 3, height, width] in -2..2"},
    {"batch": "1..3", "height": "8..15", "width": "8..15"},
)
WAVES = {"x": "float32[batch, 2, n] in -2..2"}, {"batch": "1..3", "n": "64..128 step 8"}
SPECTRA = {"x": "float32[batch, 9, time, 2] in -2..2"}, {"batch": "1..3", "time": "4..9"}
SQUARES = {"x": "float32[batch, 4, 4] in -2..2"}, {"batch": "1..3"}

SLOW = pytest.mark.slow


class Spectral(nn.Module):
    """A layer of a Fourier neural operator: the lowest frequencies, each multiplied by complex weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 5, 3, 3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        made = torch.zeros(x.shape[0], 5, *spectrum.shape[-2:], dtype=torch.complex64)
        made[..., :3, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[..., :3, :3], self.weight)
        made[..., -3:, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[..., -3:, :3], self.weight.conj())
        field: Tensor = torch.fft.irfft2(made, s=x.shape[-2:], norm="ortho")
        return field


def require_exact(bundle: onnxproof.Bundle) -> None:
    assert bundle.verdict is not None
    assert bundle.verdict.passed, [check for check in bundle.verdict.checks if check.status != "pass"]
    assert "function" in {check.name for check in bundle.verdict.checks if check.leg == "onnx-float64"}


def real(*values: Tensor) -> tuple[Tensor, ...]:
    """Complex outputs as pairs; the others as they are."""
    return tuple(torch.view_as_real(one.resolve_conj()) if one.is_complex() else one for one in values)


def transforms(x: Tensor) -> tuple[Tensor, ...]:
    """Each kind of transform, of odd and even sizes, longer, shorter, and over several axes."""
    z = torch.fft.fft(x, dim=-2)
    return real(
        *(z, torch.fft.ifft(z, n=7, norm="ortho"), torch.fft.ifft2(z, norm="forward")),
        *(torch.fft.fftn(z, dim=(1, 2)), torch.fft.rfft(x, n=20, dim=2), torch.fft.irfft(z)),
        *(torch.fft.hfft(z, n=x.shape[-1]), torch.fft.ihfft(x), torch.fft.fft(x, dim=0)),
        *(torch.fft.fftshift(z, dim=(-1, -2)), torch.fft.ifftshift(z, dim=-1)),
        torch.fft.irfftn(z, s=(x.shape[-2], 9), dim=(-2, -1)),
    )


def arithmetic(x: Tensor) -> tuple[Tensor, ...]:
    z, w = torch.complex(x, x.mT), torch.view_as_complex(torch.stack([x.mT, x + 0.5], -1))
    return real(
        *(z * w, z / w, z @ w, z + 1j * x, 2 - z, 1 / w, z * x, x - w, z / 2, 3j * z, x / w),
        *(z**2, w**-1, z.conj() * w, z.mH @ w, torch.polar(x.abs(), x), torch.exp(z), z.abs(), z.real),
        *(z.sum(-1), z.mean((1, 2)), z.imag.cumsum(-1), torch.linalg.vector_norm(z, dim=-1), z.var(-1)),
        *(torch.vdot(z[0, 0], w[0, 0]), torch.isfinite(z), z == w.mT, z != w),
    )


def functions(x: Tensor) -> tuple[Tensor, ...]:
    z = torch.complex(x, x.mT + 0.3)
    return real(
        *(z.sin(), z.cos(), z.tan(), z.sinh(), z.cosh(), z.tanh(), z.sqrt(), z.rsqrt(), z.log(), z.log10()),
        *(z.sgn(), z.reciprocal(), torch.sigmoid(z), z.angle(), z**0.3, z**-2.5, z**0, torch.log2(z)),
    )


def places(x: Tensor) -> tuple[Tensor, ...]:
    """Complex values moved, chosen, joined and written into."""
    z = torch.complex(x, x.roll(1, -1))
    written = z.clone()
    written[:, 0] = torch.tensor(1j)
    written[:, 1, 1:] *= 2
    filled = z.masked_fill(x > 0, 1 - 2j)
    return real(
        *(written, filled, torch.where(x > 0, z, x), torch.cat([z, x + 0j], 1), z.flip(-1)),
        *(z.transpose(1, 2).reshape(x.shape[0], -1), torch.nn.functional.pad(z, (1, 2), value=1.0)),
        *(
            torch.stack(z.unbind(1), 0),
            z[:, [2, 0]],
            z.gather(1, (x > 0).long()),
            z.tril(),
            z.diagonal(0, 1, 2),
        ),
        *(torch.stack(z.chunk(2, -1)), z.expand(2, *z.shape), torch.full_like(z, 2j), torch.ones_like(z)),
        *(z.to(torch.complex128).real, torch.view_as_complex(torch.view_as_real(z).flip(-1))),
    )


def overlapped(x: Tensor) -> tuple[Tensor, ...]:
    """Waves of a spectrogram: the edges cut off, of a length that is shorter or longer, a narrow window."""
    spectrum = torch.view_as_complex(x)
    hann, narrow = torch.hann_window(16), torch.hamming_window(12)
    return (
        torch.istft(spectrum, 16, 4, window=hann),
        torch.istft(spectrum, 16, 4, window=hann, length=20),
        torch.istft(spectrum, 16, 4, window=hann, length=36),
        spectrum.istft(16, 4, 12, window=narrow, normalized=True),
        torch.istft(spectrum, 16, 8, window=torch.ones(16), center=False),
    )


def there_and_back(x: Tensor) -> tuple[Tensor, Tensor]:
    """A spectrogram of waves [b, 2, n], and the waves of half of it."""
    window = torch.hann_window(32)
    spectrum = torch.stft(x.reshape(-1, x.shape[-1]), 32, 8, window=window, return_complex=True)
    spectrum = spectrum.reshape(*x.shape[:2], *spectrum.shape[-2:])
    waves = torch.istft(input=spectrum.flatten(0, 1) * 0.5, n_fft=32, hop_length=8, window=window)
    return spectrum.abs(), waves.reshape(*x.shape[:2], -1)


CASES = [
    pytest.param(Spectral(), FIELDS, id="spectral-convolution", marks=pytest.mark.slow),
    pytest.param(Module(transforms), FIELDS, id="transforms", marks=SLOW),
    pytest.param(Module(arithmetic), SQUARES, id="arithmetic", marks=SLOW),
    pytest.param(Module(functions), SQUARES, id="functions", marks=pytest.mark.slow),
    pytest.param(Module(places), SQUARES, id="places", marks=SLOW),
    pytest.param(Module(overlapped), SPECTRA, id="istft"),
    pytest.param(Module(there_and_back), WAVES, id="spectrogram", marks=pytest.mark.slow),
]


@pytest.mark.first_case
@pytest.mark.filterwarnings("ignore:The length of signal is shorter")
@pytest.mark.parametrize(("module", "form"), CASES)
def test_a_file_with_complex_values_states_the_function(
    module: nn.Module, form: Form, tmp_path: Path
) -> None:
    require_exact(exported(module, form, tmp_path))


class Back(nn.Module):
    """Transforms a signal and back."""

    def forward(self, x: Tensor) -> Tensor:
        signal: Tensor = torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1])
        return signal


@pytest.mark.parametrize(
    ("size", "largest", "times"),
    [
        (1000, 7.1e-4, 590),
        pytest.param(480, 4.3e-4, 310, marks=SLOW),
        pytest.param(512, 1.7e-6, 2, marks=SLOW),
    ],
)
def test_a_transform_is_rough_if_its_size_is_no_power_of_two(
    size: int, largest: float, times: float, tmp_path: Path
) -> None:
    """docs/any-model.md has these figures, of ONNX Runtime 1.31."""
    bundle = exported(Back(), ({"x": f"float32[batch, {size}] in -2..2"}, {"batch": "1..3"}), tmp_path)
    require_exact(bundle)
    assert bundle.verdict is not None
    assert bundle.verdict.function is not None
    (stated,), (computed,) = bundle.verdict.function.fields, bundle.verdict.facts[0].fields
    assert stated.max_candidate < 2.5e-15
    assert computed.max_reference < 1e-6
    assert computed.max_candidate == pytest.approx(largest, rel=0.1)
    assert computed.ratio_rms == pytest.approx(times, rel=0.1)
    assert any("the file is right" in note for note in bundle.verdict.notes) == (size != 512)


class Twiddled(nn.Module):
    """Complex weights, a complex buffer that is not saved, and a table that forward computes."""

    turn: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 6, dtype=torch.complex64))
        self.register_buffer("turn", torch.polar(torch.ones(6), torch.rand(6) * 6), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        table = torch.exp(-0.3j * torch.arange(8)) * torch.linspace(0.1, 0.7, 8)
        return torch.view_as_real(((x * table) @ self.weight) * self.turn)


@pytest.mark.first_case
@pytest.mark.parametrize("simplify", ["onnxsim", "none"])
def test_complex_constants_are_proven_from_the_checkpoint(simplify: str, tmp_path: Path) -> None:
    module, form = Twiddled(), ({"x": "float32[batch, 8] in -2..2"}, {"batch": "1..3"})
    bundle = exported(module, form, tmp_path, f"export.simplify={simplify}")
    require_exact(bundle)
    proto = onnx.load(bundle.path / "model.onnx")
    known = known_of_module(module, {"x": np.zeros((2, 8), np.float32)})
    proven = prove_constants(OnnxGraph(proto), known)
    assert not proven.unproven
    names = {name for origin in proven.origins.values() for name in origin.names}
    assert names == {"weight", "turn"}


class Mixed(nn.Module):
    """Floats that may be in half precision beside complex weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)
        self.weight = nn.Parameter(torch.randn(5, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        field: Tensor = torch.fft.irfft(torch.fft.rfft(self.layer(x).float()) * self.weight, n=8)
        return field


@pytest.mark.slow
def test_half_precision_leaves_complex_weights_whole(tmp_path: Path) -> None:
    module, form = Mixed().eval(), ({"x": "float16[batch, 8] in -2..2"}, {"batch": "1..3"})
    require_exact(exported(module, form, tmp_path, "export.dtype=float16"))
    x = np.linspace(-1, 1, 8, dtype=np.float16)[None]
    written = onnxruntime.InferenceSession(tmp_path / "bundle" / "model.onnx").run(None, {"x": x})[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(x).float())
    np.testing.assert_allclose(written, expected, atol=1e-2)


def test_a_checkpoint_with_complex_weights_is_exported_and_proved_again(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\n\n"
        "class Weighted(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.zeros(8, 6, dtype=torch.complex64))\n\n"
        "    def forward(self, x):\n"
        "        return (x.to(torch.complex64) @ self.weight).imag\n"
    )
    torch.manual_seed(0)
    torch.save({"weight": torch.randn(8, 6, dtype=torch.complex64)}, tmp_path / "weights.pth")
    document = {
        "name": "weighted",
        "model": {"family": "module", "builder": "net.py:Weighted", "checkpoint": "weights.pth"},
        "inputs": {"x": "float32[batch, 8] in -2..2"},
        "dims": {"batch": "1..3"},
        "validate": {"effort": "quick"},
    }
    bundle = onnxproof.export(Job.from_document(document, folder=tmp_path, source="weighted"), out=tmp_path)
    require_exact(bundle)
    assert onnxproof.validate(bundle.path, trust=True).passed
