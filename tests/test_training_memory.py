"""The memory that a training step is estimated to need, against real steps and by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mmseg.engine.performance import build_grouped_optimizer, speed_up
from mmseg.models.uda import build_train_model
from mmseg.utils.seeding import Step
from tests.tiny_runs import CHECKOUT, SOURCE_ONLY_CONFIG, UDA_CONFIG
from tools import training_memory
from tools.given_config import read_config
from tools.training_memory import LiveBytes, empty_batch, on_gpu, step_memory

pytestmark = pytest.mark.usefixtures('one_thread')

CONFIGS = CHECKOUT / 'configs/street_scenes'
CHECKPOINTING = {'model.backbone.with_cp': True}
ACCUMULATE = {'speed.accumulate': 2}
BF16 = {'speed.amp': 'bf16'}
FEATURE_DISTANCE = {
    'uda.imnet_feature_dist_lambda': 0.005,
    'uda.imnet_feature_dist_classes': [6, 7],
    'uda.imnet_feature_dist_scale_min_ratio': 0.75,
}


def config(path, options=()):
    cfg = read_config(str(path))
    cfg.data.samples_per_gpu = 2
    cfg.merge_from_dict(dict(options))
    return cfg


def estimated(path, options=()):
    return sum(step_memory(config(path, options)))


def allocated(cfg):
    """The most bytes that torch's allocator has given out at a time in a real step on the CPU."""
    method = build_train_model(cfg).train()
    method.debug_img_interval = 0
    speed_up(method, torch.device('cpu'), **cfg.speed)
    optimizer = build_grouped_optimizer(method.model, cfg.optimizer)
    batch = {
        key: torch.ones(value.shape, dtype=value.dtype) if torch.is_tensor(value) else value
        for key, value in empty_batch(cfg).items()
    }
    step = Step(seed=0, iteration=0)
    method.train_step(batch, optimizer, step=step)
    optimizer.zero_grad()
    state = [value for each in optimizer.state.values() for value in each.values()]
    before = (*method.parameters(), *method.buffers(), *state, *batch.values())
    before = sum(value.nbytes for value in before if torch.is_tensor(value))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        method.train_step(batch, optimizer, step=step)
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == '[memory]')
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return before + most


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('source_only_mitb0', ACCUMULATE),
        ('uda_mitb0', FEATURE_DISTANCE),
        ('uda_mitb0', CHECKPOINTING | ACCUMULATE),
        ('mic_hrda_mitb0', {}),
    ],
)
def test_real_step(name, options):
    cfg = config(CONFIGS / f'{name}.py', options)
    assert sum(step_memory(cfg)) == pytest.approx(allocated(cfg), rel=0.01)


def test_torchs_own_tracker():
    """It knows no second network beside the one that is trained, but agrees on labels alone."""
    tracker = pytest.importorskip('torch.distributed._tools.mem_tracker').MemTracker()
    cfg = config(SOURCE_ONLY_CONFIG)
    method = build_train_model(cfg).to('meta').train()
    batch = empty_batch(cfg)
    tracker.track_external(method, batch['img'], batch['gt_semantic_seg'])
    with tracker, on_gpu():
        method._forward_backward(batch, Step(seed=0, iteration=0), True)
    found = tracker.get_tracker_snapshot('peak')[torch.device('meta')]['Total']
    weights, _, rest = step_memory(cfg)
    assert weights + rest == pytest.approx(found, rel=0.001)


def test_two_layers_by_hand():
    batch, narrow, wide = 100, 30, 700
    network = nn.Sequential(nn.Linear(narrow, wide), nn.ReLU(), nn.Linear(wide, 1)).to('meta')
    images = torch.empty(batch, narrow, device='meta')
    memory = LiveBytes()
    memory.add([*network.parameters(), images])
    given = 4 * (narrow * wide + wide + wide + 1 + batch * narrow)
    assert memory.now == given
    with memory:
        loss = network(images).sum()
        # ReLU's output is kept, its input is not. The last layer's output went into the sum.
        kept = 4 * (batch * wide + 1)
        assert memory.now == given + kept
        assert memory.peak == given + 4 * 2 * batch * wide
        loss.backward()
        del loss
    assert memory.now == given + 4 * (narrow * wide + wide + wide + 1)  # and the gradients


def test_fused_attention_by_hand():
    heads, queries, keys, channels = 2, 512, 128, 16
    q = torch.empty(1, heads, queries, channels, device='meta', requires_grad=True)
    k, v = (torch.empty(1, heads, keys, channels, device='meta') for _ in range(2))
    with LiveBytes() as memory, on_gpu():
        out = F.scaled_dot_product_attention(q, k, v)
    softmax_sums, random_state = 4 * heads * queries, 16
    assert memory.now == 4 * out.numel() + softmax_sums + random_state
    with LiveBytes() as memory:
        out = F.scaled_dot_product_attention(q, k, v)
    assert memory.now > 4 * heads * queries * keys


def test_autocast_of_a_gpu():
    linear, norm = nn.Linear(8, 8).to('meta'), nn.LayerNorm(8).to('meta')
    with on_gpu(), torch.autocast('cpu', torch.bfloat16):
        tokens = linear(torch.empty(4, 8, device='meta'))
        assert tokens.dtype == torch.bfloat16 and norm(tokens).dtype == torch.float32
    assert linear(torch.empty(4, 8, device='meta')).dtype == torch.float32


def test_options_that_save_memory():
    options = CHECKPOINTING, ACCUMULATE, BF16, CHECKPOINTING | ACCUMULATE | BF16
    plain = estimated(SOURCE_ONLY_CONFIG)
    *single, everything = (estimated(SOURCE_ONLY_CONFIG, each) for each in options)
    assert everything < min(single) and max(single) < 0.95 * plain


def test_methods():
    # Of images of 64×64, to which the context of HRDA is reduced and its detail is cut.
    small = {'data.train.source.pipeline.3.crop_size': (64, 64)}
    methods = dict(uda_mitb0=small, hrda_mitb0={}, mic_hrda_mitb0={})
    daformer, hrda, mic = (
        step_memory(config(CONFIGS / f'{name}.py', options))[2] for name, options in methods.items()
    )
    assert 1.5 * daformer < hrda < mic


def test_table(monkeypatch, capsys):
    seen = []

    def step(cfg):
        seen.append((cfg.speed.accumulate, cfg.model.backbone.get('with_cp', False), cfg.speed.amp))
        if cfg.speed.amp and not cfg.model.backbone.get('with_cp'):
            raise TypeError('no bf16\nat all')
        return 1_004_000_000, 2_000_000_000, 3_003_000_000

    monkeypatch.setattr(training_memory, 'step_memory', step)
    training_memory.print_training_memory(config(UDA_CONFIG))
    plain = 1, False, None
    assert seen == [plain, (2, *plain[1:]), (1, True, None), (1, False, 'bf16'), (2, True, 'bf16')]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'Memory in training, speed.amp=bf16: not estimated (no bf16)'
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in said if '|' in line]
    assert rows[1] == ['as configured', '1.00', '2.00', '3.00', '6.01']
    assert [row[0] for row in rows[2:]] == [
        'speed.accumulate=2', 'model.backbone.with_cp=True', 'all three',
    ]  # fmt: skip


def test_what_cannot_be_estimated(capsys):
    cfg = config(UDA_CONFIG)
    cfg.optimizer = None
    training_memory.print_training_memory(cfg)
    said = capsys.readouterr().out
    assert 'as configured: not estimated (it needs' in said and said.count('\n') == 1
