"""torch.export forgets the guard of ``int(size / number)``: prints which batches it is right for."""

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx.experimental import _config as symbolic_shapes

SIDE = 4


class Windows(nn.Module):
    """Cuts pictures into windows and puts them together again, as Swin transformers write it."""

    def forward(self, image: Tensor) -> Tensor:
        batch, height, width, channels = image.shape
        cut = image.view(batch, height // SIDE, SIDE, width // SIDE, SIDE, channels).permute(0, 1, 3, 2, 4, 5)
        windows = cut.reshape(-1, SIDE * SIDE, channels)
        whole = int(windows.shape[0] / (height * width / SIDE / SIDE))
        parts = windows.view(whole, height // SIDE, width // SIDE, SIDE, SIDE, -1)
        return parts.permute(0, 1, 3, 2, 4, 5).reshape(whole, height, width, -1)


# The options are those of torch.onnx.export(dynamo=True).
with symbolic_shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
    program = torch.export.export(
        Windows(),
        (torch.rand(3, 8, 12, 6),),
        dynamic_shapes=({0: Dim("batch", min=1, max=3)},),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
print("range constraints:", program.range_constraints)
lowered = program.module()
for size in (1, 2, 3):
    image = torch.rand(size, 8, 12, 6)
    try:
        print(size, tuple(image.shape), "became", tuple(lowered(image).shape))
    except RuntimeError as error:
        print(size, "fails:", str(error).splitlines()[0])
