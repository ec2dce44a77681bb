"""Whether a model chooses anything by value, from the operations of a run of it."""

from onnxproof.validate.exact.known import Recorded

PLAIN = frozenset(
    """
    _adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d _conj _convolution _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _reshape_alias _softmax _to_copy
    _unsafe_view _upsample_bilinear2d_aa abs adaptive_avg_pool2d adaptive_max_pool2d add addcdiv addcmul
    addmm addmv alias amax amin arange argmax argmin avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bmm
    cat ceil channel_shuffle chunk clamp clamp_max clamp_min clone constant_pad_nd contiguous conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution copy cos cumsum detach div dot
    dropout einsum empty empty_like empty_strided erf exp expand expand_as eye feature_dropout fill flatten
    flip floor full full_like gelu glu group_norm gru hardsigmoid hardswish hardtanh instance_norm
    layer_norm lift_fresh lift_fresh_copy linalg_vector_norm linear linspace log log_softmax logsumexp lstm
    matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices maximum mean min
    minimum mkldnn_convolution mm movedim mul mv narrow native_batch_norm native_group_norm
    native_layer_norm neg new_empty new_full new_ones new_zeros ones ones_like pad permute pixel_shuffle
    pixel_unshuffle pow reciprocal reflection_pad1d reflection_pad2d relu relu6 repeat replication_pad1d
    replication_pad2d reshape roll rsqrt rsub scalar_tensor select sigmoid silu sin slice softmax split
    split_with_sizes sqrt square squeeze stack std sub sum t tanh tile topk transpose type_as unbind
    unflatten unfold unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d var var_mean view view_as zero zeros zeros_like
    """.split()
)
"""Operations of PyTorch that choose nothing by value, but for a bound, and that no exporter writes with a
Where or an If.

Left out are those that are written so: softplus, elu, leaky_relu, attention (against a row that is masked
whole), remainder, truncation, grid_sample, indices that may be negative."""


def chooses_nothing(recorded: Recorded) -> bool:
    """Whether all operations of the run are known, and none of them chooses by value."""
    return bool(recorded.operations) and recorded.operations <= PLAIN
