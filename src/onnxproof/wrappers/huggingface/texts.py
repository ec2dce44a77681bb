"""Networks that take token ids or sound. Tokenising stays outside: the file takes arrays."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckpointError, JobError
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.family import WrappedModel, dims_of, task_of
from onnxproof.wrappers.folder import name_classes, read_json
from onnxproof.wrappers.huggingface.calls import Called
from onnxproof.wrappers.huggingface.opened import FAMILY_NAME, PROCESSOR_FILE, SENTENCES_FILE, Opened
from onnxproof.wrappers.huggingface.taken import KEY, taken
from onnxproof.wrappers.wrap import wrap_module

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
SOUND = "input_values"
BATCH, TIME, SAMPLES = "batch", "time", "samples"
LOGITS = "logits"

TOKENIZER_FILE = "tokenizer_config.json"
VOCABULARY_FILE = "vocab.json"

MOST_TOKENS = 512
"""The longest text, in tokens, if neither the job nor the folder limits it, and the limit if it is larger."""

NO_LIMIT = 10**6
"""A tokenizer that knows no limit writes a larger number than this."""

SECONDS = 4
"""The longest sound that a file is exported for, unless the job says it."""

POOLINGS = ("pooler", "cls", "mean")


def class_tasks(opened: Opened) -> tuple[str, ...]:
    """The tasks of a text classifier, the one that it was trained for first. Of a regression nothing is
    decided: its task is raw."""
    problem = getattr(opened.config, "problem_type", None)
    first = "classification"
    if problem == "multi_label_classification":
        first = "multilabel"
    elif problem == "regression" or opened.config.num_labels == 1:
        first = "raw"
    return tuple(dict.fromkeys((first, "classification", "multilabel", "raw")))


def classification(opened: Opened, network: nn.Module) -> WrappedModel:
    """A text classifier."""
    task = task_of(opened.job, *class_tasks(opened))
    return _wrap_text(opened, network, task, {LOGITS: LOGITS}, opened.classes(opened.config.num_labels))


def tokens(opened: Opened, network: nn.Module) -> WrappedModel:
    """A classifier of tokens."""
    task = task_of(opened.job, "tokens")
    return _wrap_text(opened, network, task, {LOGITS: LOGITS}, opened.classes(opened.config.num_labels))


class Pooled(nn.Module):
    """One vector [b, D] of a text encoder's vectors [b, t, D].

    ``pooling`` is "pooler" (the network's own), "cls" (the first token's) or "mean" (of the tokens that the
    mask keeps, Reimers and Gurevych 2019, arXiv:1908.10084). ``normalize`` divides it by its length.
    """

    def __init__(self, network: nn.Module, takes: Sequence[str], pooling: str, *, normalize: bool) -> None:
        super().__init__()
        self.network = network
        self.takes = tuple(takes)
        self.pooling = pooling
        self.normalize = normalize

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The vectors under "embeddings"."""
        given = dict(zip(self.takes, inputs, strict=True))
        answered = self.network(**given, return_dict=True)
        if self.pooling == "pooler":
            vectors = answered["pooler_output"]
        elif self.pooling == "cls":
            vectors = answered["last_hidden_state"][:, 0]
        else:
            states = answered["last_hidden_state"]
            kept = (
                given[MASK][..., None].to(states.dtype) if MASK in given else torch.ones_like(states[..., :1])
            )
            vectors = (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1e-9)
        if self.normalize:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return {"embeddings": vectors}


def embedding(opened: Opened, network: nn.Module) -> WrappedModel:
    """A text encoder, pooled as sentence-transformers' files beside it say, or as ``model.kwargs`` does."""
    pooling, normalize = pooling_of(opened)
    inputs = _text_inputs(opened, network)
    module = Pooled(network, [spec.name for spec in inputs], pooling, normalize=normalize)
    return _wrap(opened, module, inputs, task_of(opened.job, "embedding"), text_dims(opened), ())


def pooling_of(opened: Opened) -> tuple[str, bool]:
    """The pooling of a folder, and whether its vectors are normalised.

    ``model.kwargs`` has "pooling" and "normalize". Without them, sentence-transformers' modules.json says it.
    Raises JobError or CheckpointError if neither does, or if the pooling is another one.
    """
    kwargs = opened.job.model.kwargs
    unknown = sorted(set(kwargs) - {"pooling", "normalize", KEY})
    if unknown:
        raise JobError(f"model.kwargs.{unknown[0]} is not known; there are: pooling, normalize, {KEY}")
    stated, normalize = _sentence_modules(opened.folder)
    pooling = kwargs.get("pooling", stated)
    if pooling is None:
        raise JobError(
            f"{opened.folder} does not say how a text's vectors become one: set model.kwargs.pooling to "
            f"one of "
            f"{', '.join(POOLINGS)}"
        )
    if pooling not in POOLINGS:
        raise JobError(f'model.kwargs.pooling = "{pooling}"; there are: {", ".join(POOLINGS)}')
    return pooling, bool(kwargs.get("normalize", normalize))


def _sentence_modules(folder: Path) -> tuple[str | None, bool]:
    """The pooling, and whether a normalisation follows, in sentence-transformers' files."""
    listed = folder / SENTENCES_FILE
    if not listed.is_file():
        return None, False
    try:
        return _pooled(folder, listed)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{listed} does not list modules as sentence-transformers does: copy the whole folder again"
        ) from error


def _pooled(folder: Path, listed: Path) -> tuple[str | None, bool]:
    """As ``_sentence_modules``, of files that are there. Raises any error if they are not as expected."""
    pooling, normalize = None, False
    for module in read_json(listed):
        kind = module["type"].rpartition(".")[2]
        if kind == "Pooling":
            stored = read_json(folder / module["path"] / "config.json")
            modes = [key for key, value in stored.items() if key.startswith("pooling_mode") and value]
            named = {
                "pooling_mode_mean_tokens": "mean",
                "pooling_mode_cls_token": "cls",
                "mean": "mean",
                "cls": "cls",
            }
            chosen = stored.get("pooling_mode") if isinstance(stored.get("pooling_mode"), str) else modes[0]
            pooling = named.get(str(chosen)) if len(modes) <= 1 else None
            if pooling is None:
                raise CheckpointError(
                    f"{folder} pools by {', '.join(modes)}; expected one of {', '.join(named)}: set "
                    "model.kwargs.pooling if one of these will do"
                )
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise CheckpointError(
                f"{listed} names a module {kind}; expected Transformer, Pooling and Normalize: build the "
                "network with the family module"
            )
    return pooling, normalize


class Spoken(nn.Module):
    """A network with a CTC head on sound as it was recorded, at the folder's sampling rate.

    ``normalize`` brings each sound to mean 0 and variance 1 first, as transformers' feature extractor does,
    over the samples that ``attention_mask`` keeps. With a mask, the lengths of the sequences are returned
    too.
    """

    def __init__(self, network: Any, blank: int, *, normalize: bool, masked: bool) -> None:
        super().__init__()
        self.network = network
        self.blank = blank
        self.normalize = normalize
        self.masked = masked

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Logits [b, time, C], and lengths int64 [b] if there is a mask."""
        sound = input_values
        if self.normalize:
            sound = _standardised(sound, attention_mask)
        if attention_mask is None:
            return {LOGITS: self.network(sound, return_dict=True)["logits"]}
        answered = self.network(sound, attention_mask=attention_mask, return_dict=True)
        lengths = self.network._get_feat_extract_output_lengths(attention_mask.sum(dim=1))
        return {LOGITS: answered["logits"], "lengths": lengths.long()}


def _standardised(sound: Tensor, mask: Tensor | None) -> Tensor:
    """Mean 0 and variance 1 along each sound [b, n], padding at 0. 1e-7 is the feature extractor's."""
    if mask is None:
        centred = sound - sound.mean(dim=1, keepdim=True)
        return centred / torch.sqrt((centred * centred).mean(dim=1, keepdim=True) + 1e-7)
    kept = mask.to(sound.dtype)
    count = kept.sum(dim=1, keepdim=True)
    centred = (sound - (sound * kept).sum(dim=1, keepdim=True) / count) * kept
    return centred / torch.sqrt((centred * centred).sum(dim=1, keepdim=True) / count + 1e-7)


def speech(opened: Opened, network: nn.Module) -> WrappedModel:
    """A speech recogniser with a CTC head. The blank is the padding token, as transformers decodes it."""
    stored = _json(opened.folder / PROCESSOR_FILE)
    blank = int(opened.config.pad_token_id)
    inputs = [TensorSpec(SOUND, "float32", (BATCH, SAMPLES), (-1.0, 1.0))]
    if stored.get("return_attention_mask"):
        inputs.append(TensorSpec(MASK, "int64", (BATCH, SAMPLES), mask=True))
    inputs = taken(opened, network, inputs)
    masked = any(spec.mask for spec in inputs)
    module = Spoken(network, blank, normalize=bool(stored.get("do_normalize")), masked=masked)
    task = task_of(opened.job, "sequence")
    return _wrap(opened, module, inputs, task, sound_dims(opened), spoken_classes(opened))


def sound_dims(opened: Opened) -> tuple[Dim, ...]:
    """From the shortest sound that gives one step, every convolution seeing a whole kernel, twice over, to
    ``SECONDS``."""
    rate = int(_json(opened.folder / PROCESSOR_FILE).get("sampling_rate", 16_000))
    least = 1
    for kernel, stride in zip(
        reversed(opened.config.conv_kernel), reversed(opened.config.conv_stride), strict=True
    ):
        least = (least - 1) * stride + kernel
    most = max(SECONDS * rate, 2 * least)
    return dims_of(opened.job, {BATCH: Dim(BATCH, 1, 4), SAMPLES: Dim(SAMPLES, 2 * least, most)})


def spoken_classes(opened: Opened) -> tuple[ClassInfo, ...]:
    """The letters of vocab.json, in the order of their numbers. The word delimiter is a space."""
    stored = _json(opened.folder / VOCABULARY_FILE)
    delimiter = _json(opened.folder / TOKENIZER_FILE).get("word_delimiter_token", "|")
    named = {number: letter for letter, number in stored.items() if isinstance(number, int)}
    names = [str(named.get(number, number)) for number in range(opened.config.vocab_size)]
    return name_classes([" " if name == delimiter else name for name in names])


def _json(file: Path) -> dict[str, Any]:
    """What a JSON file holds. Returns {} if there is no such file."""
    if not file.is_file():
        return {}
    stored = read_json(file)
    return stored if isinstance(stored, dict) else {}


def _wrap_text(
    opened: Opened,
    network: nn.Module,
    task: str,
    answers: dict[str, str],
    classes: tuple[ClassInfo, ...],
) -> WrappedModel:
    inputs = _text_inputs(opened, network)
    called = Called(network, [spec.name for spec in inputs], answers)
    return _wrap(opened, called, inputs, task, text_dims(opened), classes if task != "raw" else ())


def _wrap(
    opened: Opened,
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    task: str,
    dims: tuple[Dim, ...],
    classes: tuple[ClassInfo, ...],
) -> WrappedModel:
    return wrap_module(
        module,
        inputs,
        dims,
        name=opened.job.name,
        family=FAMILY_NAME,
        task=task,
        decode=opened.job.wrapper.decode,
        classes=classes,
        validation=opened.job.validation,
    )


def _text_inputs(opened: Opened, network: nn.Module) -> list[TensorSpec]:
    """Ids and mask, and the numbers of the sentences if the network tells several apart. The job may leave
    some out."""
    takes = inspect.signature(network.forward).parameters
    config = opened.config
    specs = [
        TensorSpec(IDS, "int64", (BATCH, TIME), (0.0, config.vocab_size - 1.0)),
        TensorSpec(MASK, "int64", (BATCH, TIME), mask=True),
    ]
    kinds = getattr(config, "type_vocab_size", None) or 0
    if TYPES in takes and kinds > 1:
        specs.append(TensorSpec(TYPES, "int64", (BATCH, TIME), (0.0, kinds - 1.0)))
    return taken(opened, network, specs)


def text_dims(opened: Opened) -> tuple[Dim, ...]:
    most = most_tokens(opened.config, opened)
    return dims_of(opened.job, {BATCH: Dim(BATCH, 1, 8), TIME: Dim(TIME, min(2, most), most)})


def most_tokens(config: Any, opened: Opened) -> int:
    """The longest text that a network's configuration and the folder allow, in tokens."""
    limits = [MOST_TOKENS]
    stated = _json(opened.folder / TOKENIZER_FILE).get("model_max_length")
    if isinstance(stated, int | float) and stated < NO_LIMIT:
        limits.append(int(stated))
    places = getattr(config, "max_position_embeddings", None)
    if isinstance(places, int) and places > 0:
        # RoBERTa and its kin count places from behind the padding token's number.
        shifted = "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "longformer")
        limits.append(places - (config.pad_token_id or 0) - 1 if shifted else places)
    return max(1, min(limits))
