"""torch.export freezes a derived dim without a word. Prints the sizes that the program is right for."""

import torch
from torch import Tensor, nn
from torch.export import Dim


class Grid(nn.Module):
    """``affine_grid``, whose meta kernel turns sizes into Python numbers."""

    def forward(self, image: Tensor, turn: Tensor) -> Tensor:
        return nn.functional.affine_grid(turn, list(image.shape), align_corners=False)


height = 16 * Dim("steps", min=1, max=4)
program = torch.export.export(
    Grid(),
    (torch.rand(2, 3, 32, 40), torch.rand(2, 2, 3)),
    dynamic_shapes=({2: height}, {}),
    prefer_deferred_runtime_asserts_over_guards=True,
)
print("range constraints:", program.range_constraints)
lowered = program.run_decompositions().module()
for size in (32, 16):
    try:
        print(size, tuple(lowered(torch.rand(2, 3, size, 40), torch.rand(2, 2, 3)).shape))
    except RuntimeError as error:
        print(size, "fails:", str(error).splitlines()[0])
