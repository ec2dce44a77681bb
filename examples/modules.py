"""Modules that were not written for onnxproof, each made by a call: what ``model.builder`` in a job names.

Their weights are seeded, not trained: put a state dict at ``model.checkpoint`` for real ones.
"""

import torch
from torch import nn


def bert(hidden_size: int = 64, layers: int = 2, vocabulary: int = 1000) -> nn.Module:
    """A BERT encoder of Hugging Face's transformers: ``input_ids`` and ``attention_mask`` int64 [b, t] to
    ``last_hidden_state`` [b, t, hidden_size] and ``pooler_output`` [b, hidden_size]."""
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden_size,
        vocab_size=vocabulary,
    )
    return BertModel(config)
