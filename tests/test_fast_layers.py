"""What computes the same faster or in less memory: layers, kept memory, bounded spinning."""

import ast
import os
import runpy
import sys

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule

from mmseg.models.decode_heads.decoder_layers import ASPPLayer, fuse_levels
from tests.tiny_runs import CHECKOUT, run_python


def gradients(module, feature):
    feature = feature.clone(memory_format=torch.preserve_format).requires_grad_()
    out = module(feature)
    weight = torch.arange(out.numel(), dtype=out.dtype).view_as(out) % 7
    return [out, *torch.autograd.grad((out * weight).mean(), [feature, *module.parameters()])]


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
@pytest.mark.parametrize('python_option', ['-B', pytest.param('-O', marks=pytest.mark.long)])
@pytest.mark.parametrize(('device', 'kept'), [('cpu', True), ('cuda', False)])
def test_freed_memory_is_kept_on_a_cpu(python_option, device, kept):
    code = (
        'import runpy, types\n'
        'def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20\n'
        'allocator = runpy.run_path("mmseg/engine/performance.py")\n'
        f'allocator["keep_freed_memory"](types.SimpleNamespace(type="{device}"))\n'
        'block = bytearray(200 * 2**20)\n'
        'held = resident()\n'
        'del block\n'
        'print(held - resident())\n'
    )
    result = run_python(python_option, '-c', code, cwd=CHECKOUT)
    returned = float(result.stdout)
    assert returned < 10 if kept else returned > 190


def entry_points():
    """The files that are run as programs."""
    files = (path for pattern in ('*.py', 'tools/**/*.py', 'demo/**/*.py')
             for path in CHECKOUT.glob(pattern))  # fmt: skip
    return [path for path in files if "__name__ == '__main__'" in path.read_text(encoding='utf-8')]


def test_every_entry_point_bounds_spinning_before_it_imports_torch():
    assert CHECKOUT / 'tools/train.py' in entry_points()
    for path in entry_points():
        imported = []
        for statement in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(statement, ast.Import):
                imported += [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                imported.append(statement.module)
        foreign = [name for name in imported if name.split('.')[0] not in sys.stdlib_module_names]
        assert foreign[0] == 'tools.openmp', path


@pytest.mark.parametrize(
    ('given', 'expected'),
    [({}, {'GOMP_SPINCOUNT': '10000'}), ({'GOMP_SPINCOUNT': '0'}, {'GOMP_SPINCOUNT': '0'}),
     ({'OMP_WAIT_POLICY': 'ACTIVE'}, {'OMP_WAIT_POLICY': 'ACTIVE'})],
)  # fmt: skip
def test_spinning_that_the_user_has_set_stays(monkeypatch, given, expected):
    monkeypatch.setattr(os, 'environ', dict(given))
    runpy.run_path(CHECKOUT / 'tools/openmp.py')
    assert os.environ == expected


def stack_levels(levels):
    size = levels[0].shape[2:]
    upsampled = [F.interpolate(level, size, mode='bilinear') for level in levels]
    return torch.cat(upsampled, dim=1)


@pytest.mark.parametrize('options', [{}, {'norm_cfg': {'type': 'BN'}}, {'act_cfg': None}])
def test_levels_are_convolved_before_they_are_upsampled(options):
    torch.manual_seed(0)
    layer = ConvModule(3 + 2 + 2, 5, 1, **options).double()
    shapes = [(2, 3, 8, 12), (2, 2, 4, 6), (2, 2, 1, 2)]
    levels = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    inputs = [*levels, *layer.parameters()]
    short, long = fuse_levels(levels, layer), layer(stack_levels(levels))
    torch.testing.assert_close(short, long)
    weight = torch.randn(short.shape, dtype=torch.double)
    torch.testing.assert_close(
        torch.autograd.grad((short * weight).sum(), inputs),
        torch.autograd.grad((long * weight).sum(), inputs),
    )


def test_only_pointwise_convolutions_take_the_short_way():
    layer = ConvModule(4, 5, 3, padding=1)
    levels = [torch.randn(1, 2, 8, 8), torch.randn(1, 2, 4, 4)]
    torch.testing.assert_close(fuse_levels(levels, layer), layer(stack_levels(levels)))
