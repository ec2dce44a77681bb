"""Seeded networks of the soundness benchmark: small, of operators that trained demos leave out.

Untrained networks are bad witnesses unless their numbers are spread as training would have spread them, so
batch norms take their statistics, and last layers their scale, from smooth noise.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_SLOPE = 0.1
"""Of the leaky ReLUs."""


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth noise: float32 [count, 3, height, width] in [0, 1]."""
    coarse = np.random.default_rng(seed).uniform(0, 1, (count, 3, height // 8, width // 8))
    smooth = functional.interpolate(torch.from_numpy(coarse).float(), (height, width), mode="bilinear")
    return smooth.clamp(0, 1)


def calibrate(network: nn.Module, *inputs: Tensor) -> None:
    """Give batch norms the statistics of the inputs, each layer behind those before it."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        network.train()
        for norm in norms:
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
        network(*inputs)
        network.eval()


def spread(layer: nn.Linear | nn.Conv2d, network: nn.Module, *inputs: Tensor, std: float) -> None:
    """Scale a last layer so that over the inputs each channel's mean is 0 and its deviation ``std``."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _args, output: seen.append(output))
    with torch.no_grad():
        network(*inputs)
        handle.remove()
        values = torch.cat([output.transpose(0, 1).flatten(1) for output in seen], dim=1)
        factors = std / values.std(dim=1).clamp(min=1e-6)
        assert layer.bias is not None
        layer.weight.mul_(factors.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.copy_((layer.bias - values.mean(dim=1)) * factors)


class Residual(nn.Module):
    """Two convolutions of 3 x 3 with batch norms and a way around them."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.around = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, channels, h / stride, w / stride]."""
        return torch.relu(self.body(features) + self.around(features))


class ResNet(nn.Module):
    """A residual network for pictures [b, 3, h, w] in [0, 1]: logits [b, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.stages = nn.Sequential(
            Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), Residual(64, 64, 2)
        )
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits of ten classes."""
        features = self.stages(self.stem(image))
        return {"logits": self.head(self.dropout(features.mean(dim=(2, 3))))}


def resnet() -> nn.Module:
    """A ``ResNet`` with calibrated statistics."""
    torch.manual_seed(0)
    network = ResNet()
    samples = pictures(16, 96, 96)
    calibrate(network, samples)
    spread(network.head, network, samples, std=2.0)
    return network


class Inverted(nn.Module):
    """MobileNetV3's block (Howard et al. 2019): expand, depthwise, squeeze and excite, project."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        inner = 3 * inputs
        self.expand = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner)
        )
        self.squeeze = nn.Conv2d(inner, 8, 1)
        self.excite = nn.Conv2d(8, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, channels, h / stride, w / stride]."""
        inner = functional.hardswish(self.depthwise(functional.hardswish(self.expand(features))))
        pooled = torch.relu(self.squeeze(inner.mean(dim=(2, 3), keepdim=True)))
        answer: Tensor = self.project(inner * functional.hardsigmoid(self.excite(pooled)))
        return answer + features if answer.shape == features.shape else answer


class Mobile(nn.Module):
    """A network of hard swishes and depthwise convolutions, with a stage of grouped ones and a swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.blocks = nn.Sequential(Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 24, 1))
        self.grouped = nn.Sequential(
            nn.Conv2d(24, 48, 3, 2, 1, groups=4, bias=False), nn.BatchNorm2d(48), nn.SiLU()
        )
        self.head = nn.Linear(48, 6)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits of six classes."""
        return {"logits": self.head(self.grouped(self.blocks(self.stem(image))).mean(dim=(2, 3)))}


def mobile() -> nn.Module:
    """A ``Mobile`` with calibrated statistics."""
    torch.manual_seed(1)
    network = Mobile()
    samples = pictures(16, 96, 96, seed=1)
    calibrate(network, samples)
    spread(network.head, network, samples, std=2.0)
    return network


class Attention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017), padding left out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, steps: Tensor, attended: Tensor) -> Tensor:
        """Steps [b, t, width] and their mask [b, t], 1 where a step counts, to [b, t, width]."""
        batch, time, width = steps.shape
        query, key, value = (
            layer(steps).view(batch, time, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(attended[:, None, None, :] == 0, -10000.0)
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return answer


class EncoderLayer(nn.Module):
    """Attention and two dense layers, with layer norms behind each, as in BERT (Devlin et al. 2018)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.first_norm = nn.LayerNorm(width, eps=1e-5)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.second_norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, steps: Tensor, attended: Tensor) -> Tensor:
        """[b, t, width] and a mask [b, t] to [b, t, width]."""
        steps = self.first_norm(steps + self.attention(steps, attended))
        answer: Tensor = self.second_norm(steps + self.dense(steps))
        return answer


class Encoder(nn.Module):
    """Token ids [b, t] and their mask [b, t] to logits [b, 4], from the first step."""

    def __init__(self, width: int = 32, heads: int = 4, layers: int = 2, vocabulary: int = 100) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(32, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Logits of four classes."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        steps = self.norm(self.words(input_ids) + self.places(places))
        for layer in self.layers:
            steps = layer(steps, attention_mask)
        return {"logits": self.head(steps[:, 0])}


def encoder() -> nn.Module:
    """An ``Encoder`` whose attention has something to choose from."""
    torch.manual_seed(2)
    network = Encoder().eval()
    with torch.no_grad():
        for layer in network.layers:
            assert isinstance(layer, EncoderLayer)
            layer.attention.query.weight.mul_(2.5)
            layer.attention.key.weight.mul_(2.5)
        network.words.weight.mul_(0.05)  # so small that the first norm's epsilon counts
        network.places.weight.mul_(0.02)
    random = np.random.default_rng(2)
    ids = torch.from_numpy(random.integers(0, 100, (64, 24)))
    mask = torch.from_numpy((np.arange(24) < random.integers(1, 25, (64, 1))).astype(np.int64))
    spread(network.head, network, ids, mask, std=2.0)
    return network


class Finder(nn.Module):
    """A detector that is told what to look for: one box a cell of 8 pixels, sizes by exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 16, 8, stride=8)
        self.ask = nn.Linear(5, 16)
        self.around = nn.Conv2d(16, 16, 3, padding=1)
        self.offsets = nn.Conv2d(16, 2, 1)
        self.log_sizes = nn.Conv2d(16, 2, 1)
        self.scores = nn.Conv2d(16, 3, 1)

    def forward(self, picture: Tensor, query: Tensor) -> dict[str, Tensor]:
        """Pictures [b, 3, h, w] in [0, 1] and queries [b, 5] to ``boxes`` [b, n, 4] (x0, y0, x1, y1,
        pixels) and ``scores`` [b, n, 3]."""
        seen = torch.tanh(self.look(picture) + self.ask(query)[:, :, None, None])
        seen = torch.tanh(self.around(seen))
        rows = torch.arange(seen.shape[2], dtype=seen.dtype, device=seen.device)
        columns = torch.arange(seen.shape[3], dtype=seen.dtype, device=seen.device)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        cells = torch.stack((x, y), dim=0).unsqueeze(0)
        centres = (cells + torch.sigmoid(self.offsets(seen))) * 8.0
        halves = torch.exp(self.log_sizes(seen).clamp(-2.0, 1.0)) * 8.0
        boxes = torch.cat((centres - halves, centres + halves), dim=1).flatten(2).transpose(1, 2)
        scores = torch.sigmoid(self.scores(seen)).flatten(2).transpose(1, 2)
        return {"boxes": boxes, "scores": scores}


def finder() -> nn.Module:
    """A ``Finder`` whose scores and sizes are spread."""
    torch.manual_seed(3)
    network = Finder().eval()
    with torch.no_grad():
        network.look.weight.mul_(8)
    samples = pictures(16, 64, 96, seed=3), torch.rand(16, 5) * 2 - 1
    for layer, std in ((network.offsets, 1.5), (network.log_sizes, 1.2), (network.scores, 2.0)):
        spread(layer, network, *samples, std=std)
    return network


class Dense(nn.Module):
    """A value for every pixel and its spread, from operators that exporters and runtimes like to differ on:
    leaky ReLU, dilation, pooling that rounds up and that counts its border or not, bilinear resizing of both
    conventions, clipping before an exponent, a validity mask."""

    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.largest = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.dilated = nn.Conv2d(12, 16, 3, padding=2, dilation=2)
        self.counted = nn.AvgPool2d(3, 2, 1, count_include_pad=True)
        self.norm = nn.GroupNorm(4, 16) if normed else nn.Identity()
        self.deep = nn.Conv2d(16, 16, 3, padding=1)
        self.mean = nn.Conv2d(12 + 16, 1, 1)
        self.log_spread = nn.Conv2d(12 + 16, 1, 1)
        self.parts = nn.Conv2d(12 + 16, 4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Pictures [b, 3, h, w] in [0, 1] to ``mean`` and ``spread`` [b, 1, h, w] and ``parts``
        [b, 4, h, w], a softmax over the four; black pixels count as invalid, their spread is 0."""
        fine = functional.leaky_relu(self.first(image), NEGATIVE_SLOPE)
        coarse = functional.leaky_relu(self.dilated(self.largest(fine)), NEGATIVE_SLOPE)
        coarse = self.deep(self.norm(self.counted(coarse)))
        size = image.shape[2:]
        larger = functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
        both = torch.cat((fine, larger), dim=1)
        valid = (image.amax(dim=1, keepdim=True) > 0.0).to(image.dtype)
        spread = torch.exp(self.log_spread(both).clamp(-4.0, 3.0)) * valid
        return {"mean": self.mean(both), "spread": spread, "parts": torch.softmax(self.parts(both), dim=1)}


def dense(*, normed: bool = False) -> nn.Module:
    """A ``Dense`` whose outputs are spread. Where it is ``normed`` it has a group norm, which of a picture of
    one colour sees next to no variance, and then magnifies whatever error stands before it."""
    torch.manual_seed(4)
    network = Dense(normed=normed).eval()
    samples = pictures(8, 64, 96, seed=4)
    for layer, std in ((network.mean, 1.0), (network.log_spread, 2.0), (network.parts, 1.5)):
        spread(layer, network, samples, std=std)
    return network


class SmallVariance(nn.Module):
    """Convolutions whose outputs hardly vary, so that the epsilon of the batch norms behind them counts."""

    def __init__(self, *, averaged: bool) -> None:
        super().__init__()
        self.averaged = averaged
        self.first = nn.Conv2d(3, 12, 3, 2, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(12, eps=1e-3)
        self.second = nn.Conv2d(12, 24, 3, 2, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(24, eps=1e-5)
        self.head = nn.Linear(24, 5)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Pictures [b, 3, h, w] in [0, 1] to logits [b, 5]."""
        features = torch.relu(self.first_norm(self.first(image)))
        features = torch.sigmoid(self.second_norm(self.second(features)))
        pooled = features.mean(dim=(2, 3)) if self.averaged else features.amax(dim=(2, 3))
        return {"logits": self.head(pooled)}


def small_variance(*, averaged: bool = False) -> nn.Module:
    """A ``SmallVariance`` with calibrated statistics: variances of about 1e-3 and 1e-5.

    Where it is ``averaged`` its head magnifies the difference of means over a picture, which ONNX Runtime
    sums less exactly than PyTorch does where all pixels are alike.
    """
    torch.manual_seed(5)
    network = SmallVariance(averaged=averaged)
    with torch.no_grad():
        network.first.weight.mul_(0.3)
        network.second.weight.mul_(0.01)
    samples = pictures(16, 64, 64, seed=5)
    calibrate(network, samples)
    spread(network.head, network, samples, std=2.0)
    return network
