"""Counts the floating-point operations of a piece of work, one multiply-add as two."""

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


def count_flops(work):
    """Floating-point operations of `work()` in matrix products, convolutions and attention."""
    with flop_counter() as counter:
        work()
    return counter.get_total_flops()


def flop_counter():
    """A `FlopCounterMode` that counts what torch's own does not, or not right."""
    aten = torch.ops.aten
    mapping = {
        # torch's own formula for the gradient of the weight takes every convolution for a dense
        # one, which counts a depthwise convolution of 1024 channels a thousand times.
        aten.convolution_backward: _convolution_backward_flops,
        # It knows the fused attention of GPUs alone.
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _convolution_backward_flops(
    grad_out_shape, x_shape, w_shape, _bias, _stride, _padding, _dilation, transposed,
    _output_padding, _groups, output_mask, out_shape=None, **_,
):  # fmt: skip
    """Each gradient takes as many products as the forward pass; that of the bias has none."""
    forward = conv_flop_count(x_shape, w_shape, grad_out_shape, transposed)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


def _attention_flops(query_shape, key_shape, value_shape, *_, out_shape=None, **__):
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def _attention_backward_flops(
    grad_out_shape, query_shape, key_shape, value_shape, *_, out_shape=None, **__
):
    return sdpa_backward_flop_count(grad_out_shape, query_shape, key_shape, value_shape)
