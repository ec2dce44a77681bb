"""Small networks of neuraloperator, which learn maps between functions on a grid."""

from architectures.architecture import BATCH, Architecture, by

LIBRARY = "neuraloperator"
FIELD = {"field": "float32[batch, 1, 16, 24] in -2..2"}
FREE_FIELD = {"field": "float32[batch, 1, height, width] in -2..2"}
GRID = {"batch": "1..3", "height": "16..32 step 8", "width": "16..32 step 8"}

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("fno", LIBRARY, by("neuralop.models:FNO", (6, 6), 1, 1, 8, n_layers=2), FREE_FIELD, GRID),
    Architecture("fno-fixed", LIBRARY, by("neuralop.models:FNO", (6, 6), 1, 1, 8, n_layers=2), FIELD, BATCH),
    Architecture(
        "tfno", LIBRARY, by("neuralop.models:TFNO", (6, 6), 1, 1, 8, n_layers=2, rank=0.5), FIELD, BATCH
    ),
    Architecture(
        "uno",
        LIBRARY,
        by(
            "neuralop.models:UNO",
            1,
            1,
            8,
            lifting_channels=8,
            projection_channels=8,
            n_layers=3,
            uno_out_channels=[8, 8, 8],
            uno_n_modes=[[4, 4], [4, 4], [4, 4]],
            horizontal_skips_map={2: 0},
            channel_mlp_skip="linear",
            uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]],
        ),
        FIELD,
        BATCH,
    ),
)
