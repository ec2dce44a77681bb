"""The head for instances: their masks are sums of prototypes, or those of queries."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.carried import PaddedMasks
from onnxproof.runtime.readings.instances import DECODE
from onnxproof.runtime.readings.prototypes import PrototypeReading
from onnxproof.runtime.readings.query_masks import QueryMaskReading
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Bare, Headed, listed, require_names
from onnxproof.wrappers.heads.detection import BOXES, PADDED, SCORES, Chosen, cuts_of, padded_nms
from onnxproof.wrappers.heads.panoptic import with_queries

COEFFICIENTS, PROTOTYPES = "coefficients", "prototypes"
NAMES = (BOXES, SCORES, COEFFICIENTS, PROTOTYPES)


class _InstanceSegmentation:
    name = "instance_segmentation"
    decodes = (DECODE, PADDED, QueryMaskReading.decode)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module. With ``decode`` "queries" it returns what the task panoptic needs.

        With "split" it returns, by these names, ``boxes`` [batch, n, 4] (x0, y0, x1, y1 in the input's
        pixels), ``scores`` [batch, n, classes] in [0, 1], ``coefficients`` [batch, n, m] and ``prototypes``
        [batch, m, h, w], which span four pixels of the input each. With "nms-padded" NMS is in the graph.
        """
        if decode == QueryMaskReading.decode:
            return with_queries(bare, self.name, QueryMaskReading, validation)
        places = {spec.name: i for i, spec in enumerate(bare.outputs) if spec.dtype == "float32"}
        if not all(name in places for name in NAMES):
            raise JobError(
                "the task instance_segmentation needs the outputs boxes [batch, n, 4], scores "
                "[batch, n, classes], coefficients [batch, n, m] and prototypes [batch, m, h, w], by these "
                f"names; the module returns {listed(bare.outputs)}"
            )
        chosen = [places[name] for name in NAMES]
        specs = tuple(TensorSpec(name, "float32", bare.outputs[places[name]].shape) for name in NAMES)
        require_names(specs[1], 2, bare.classes)
        fields = (
            Field(BOXES, "box_xyxy", "px"),
            Field(SCORES, "score", "probability"),
            Field(COEFFICIENTS, "coefficient", ""),
            Field(PROTOTYPES, "prototype", ""),
        )
        module = Chosen(bare.module, chosen)
        if decode == PADDED:
            return padded_nms(module, specs[0].shape[0], validation, PaddedMasks, specs[2:], fields[2:])
        return Headed(module, specs, fields, PrototypeReading(NAMES, **cuts_of(validation)))


HEAD = _InstanceSegmentation()
