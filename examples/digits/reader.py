"""Two small networks that read a strip of handwritten digits, column by column.

A strip is eight pixels high; each step in time is one of its columns. Both networks answer with a row of
logits for each step: the digits 0 to 9 and a blank, which the connectionist temporal classification of
Graves et al. (2006) puts between digits.
"""

import torch
from torch import Tensor, nn

HEIGHT = 8
DIGITS = 10
BLANK = DIGITS
"""The blank's index among the classes, behind the digits."""

SEEN = 7
"""Columns that the first layer sees at once: a digit is about eight wide."""


class RecurrentReader(nn.Module):
    """Columns, then gated recurrent units (Cho et al., 2014) that run along the strip both ways."""

    blank = BLANK

    def __init__(self, channels: int, units: int, layers: int) -> None:
        super().__init__()
        self.columns = nn.Conv1d(HEIGHT, channels, SEEN, padding=SEEN // 2)
        self.cells = nn.GRU(channels, units, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * units, DIGITS + 1)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Strips [batch, time, 8] in 0..1, ink is 1, to `logits` [batch, time, 11]."""
        seen = torch.relu(self.columns(features.transpose(1, 2))).transpose(1, 2)
        read, _ = self.cells(seen)
        return {"logits": self.head(read)}


class EncoderReader(nn.Module):
    """Columns, then a Transformer's encoder (Vaswani et al., 2017) that leaves padding out.

    It has no embedding of positions: the convolutions before it tell neighbours apart, and a digit is read
    alike wherever it stands.
    """

    blank = BLANK

    def __init__(self, channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.columns = nn.Conv1d(HEIGHT, channels, SEEN, padding=SEEN // 2)
        self.neighbours = nn.Conv1d(channels, channels, SEEN, padding=SEEN // 2)
        layer = nn.TransformerEncoderLayer(
            channels, heads, 2 * channels, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(channels, DIGITS + 1)

    def forward(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Strips [batch, time, 8] and bool [batch, time], true where there is a strip, to `logits`."""
        kept = mask[:, None, :].to(features.dtype)
        seen = torch.relu(self.columns(features.transpose(1, 2) * kept)) * kept
        seen = (seen + torch.relu(self.neighbours(seen))) * kept
        read = self.layers(seen.transpose(1, 2), src_key_padding_mask=~mask)
        return {"logits": self.head(read)}


def build(channels: int = 64, units: int = 72, layers: int = 2) -> RecurrentReader:
    """The network of the checkpoint in `reader/`, untrained."""
    return RecurrentReader(channels, units, layers)


def build_encoder(channels: int = 64, heads: int = 4, layers: int = 4) -> EncoderReader:
    """The other network, untrained: as many parameters, and a padding mask beside the strips."""
    return EncoderReader(channels, heads, layers)
