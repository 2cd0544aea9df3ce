"""Layers that compute the same as plain ones, faster or in less memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmseg.models.decode_heads.aspp_layer import ASPPLayer
from mmseg.models.decode_heads.pointwise_product import PointwiseProduct


def gradients(module, feature):
    feature = feature.clone(memory_format=torch.preserve_format).requires_grad_()
    out = module(feature)
    weight = torch.arange(out.numel(), dtype=out.dtype).view_as(out) % 7
    return [out, *torch.autograd.grad((out * weight).mean(), [feature, *module.parameters()])]


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=1),
        dict(kernel_size=1, bias=False),
        dict(kernel_size=1, stride=2),
        dict(kernel_size=1, padding=1),
        dict(kernel_size=1, groups=2),
        dict(kernel_size=3, padding=2, dilation=2, groups=8),
    ],
)
def test_a_pointwise_product_is_a_convolution(options, memory_format):
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 16, **options).double()
    product = PointwiseProduct(8, 16, **options).double()
    product.load_state_dict(convolution.state_dict())
    feature = torch.randn(2, 8, 5, 7, dtype=torch.double).to(memory_format=memory_format)
    for ours, plain in zip(
        gradients(product, feature), gradients(convolution, feature), strict=True
    ):
        torch.testing.assert_close(ours, plain)


def test_the_aspp_uses_it_and_keeps_its_names():
    aspp = build_aspp()
    pointwise = [m for m in aspp.aspp_modules.modules() if isinstance(m, PointwiseProduct)]
    assert [m.kernel_size for m in pointwise].count((1, 1)) == 3  # one in each branch
    assert 'aspp_modules.1.pointwise_conv.conv.weight' in aspp.state_dict()


def build_aspp(**options):
    torch.manual_seed(0)
    return ASPPLayer(8, 6, sep=True, dilations=(1, 2, 3), pool=False,
                     norm_cfg=dict(type='BN'), **options).double()  # fmt: skip


def test_computing_the_branches_again_changes_nothing():
    plain, again = build_aspp(), build_aspp(with_cp=True)
    again.load_state_dict(plain.state_dict())
    feature = torch.randn(2, 8, 9, 9, dtype=torch.double)
    for _ in range(2):  # the second time the running statistics are others
        for ours, expected in zip(
            gradients(again, feature), gradients(plain, feature), strict=True
        ):
            assert torch.equal(ours, expected)
    for (name, ours), expected in zip(again.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, expected), name


def test_computing_the_branches_again_keeps_less():
    def kept(aspp):
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.setdefault(t.untyped_storage().data_ptr(), t) is None or t, lambda t: t
        ):
            aspp(torch.randn(2, 8, 9, 9, dtype=torch.double, requires_grad=True))
        return sum(t.untyped_storage().nbytes() for t in sizes.values())

    assert kept(build_aspp(with_cp=True)) < 0.7 * kept(build_aspp())


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='about the C library of Linux')
def test_freed_memory_is_kept():
    code = (
        'from mmseg.engine.allocator import keep_freed_memory\n'
        'def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20\n'
        '{}\n'
        'block = bytearray(200 * 2**20)\n'
        'held = resident()\n'
        'del block\n'
        'print(held - resident())\n'
    )
    returned = [
        float(subprocess.run([sys.executable, '-c', code.format(call)], check=True,
                             capture_output=True, text=True).stdout)
        for call in ('', 'keep_freed_memory()')
    ]  # fmt: skip
    assert returned[0] > 190
    assert returned[1] < 10
