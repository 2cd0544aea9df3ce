"""Counts the floating-point operations of a piece of work, one multiply-add as two."""

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def count_flops(work):
    """Floating-point operations of `work()` in matrix products, convolutions and attention."""
    # torch's own formula for the gradient of the weight takes every convolution for a dense one,
    # which counts a depthwise convolution of 1024 channels a thousand times.
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    return counter.get_total_flops()


def _convolution_backward_flops(
    grad_out_shape, x_shape, w_shape, _bias, _stride, _padding, _dilation, transposed,
    _output_padding, _groups, output_mask, out_shape=None, **_,
):  # fmt: skip
    """Each gradient takes as many products as the forward pass; that of the bias has none."""
    forward = conv_flop_count(x_shape, w_shape, grad_out_shape, transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))
