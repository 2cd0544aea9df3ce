"""Several ranks compute what one computes: whole steps of the method on a divided batch."""

import pytest
import torch

from mmseg.engine.distributed import init_distributed
from mmseg.utils.seeding import Step
from tests.ranks import Ranks
from tests.test_dacs import THINGS, build_dacs, random_batch, tiny_model
from tests.test_hrda import hrda_model
from tests.test_vfm_uda import MIX, WEAK

ITERATIONS = 3


def build(network='daformer'):
    """DACS, MIC on HRDA, or VFM-UDA with distillation on DINOv2; no BatchNorm, no dropout.

    Losses see all that is in a batch.

    In double precision: in single precision gradients differ by 4e-6 where they are 0.26.
    """
    options = {}
    if network in ('mic_hrda', 'vfm_uda'):
        options = dict(
            mask_mode='separatetrgaug', mask_lambda=1,
            mask_generator=dict(type='block', mask_ratio=0.5, mask_block_size=16),
        )  # fmt: skip
    if network == 'mic_hrda':
        model = hrda_model(hr_crop_size=(32, 32), head=dict(attention_embed_dim=16))
    else:
        model = tiny_model()
    if network == 'vfm_uda':
        # Images of 64 x 64 become its native 70 x 70: positions are resampled in single precision.
        vit = dict(
            type='TimmViT', model_name='vit_small_patch14_dinov2', img_size=70, embed_dim=48,
            num_heads=3, depth=4,
        )  # fmt: skip
        model.backbone = dict(vit, mask_token=True)
        model.decode_head.in_channels = [48] * 4
        options.update(
            mask_generator=dict(type='token', mask_ratio=0.5), flip_pseudo_labels=True,
            augmentations=dict(target=WEAK, mix=MIX),
            feature_distance=dict(teacher=dict(vit, out_indices=[3])),
        )  # fmt: skip
    head = model.decode_head
    head.norm_cfg = head.decoder_params.fusion_cfg.norm_cfg = dict(type='GN', num_groups=4)
    head.channels = head.decoder_params.embed_dims = 16
    torch.manual_seed(0)
    method = build_dacs(
        model, pseudo_threshold=0.055, imnet_feature_dist_lambda=0.5,
        imnet_feature_dist_classes=THINGS, imnet_feature_dist_scale_min_ratio=0.0,
        color_jitter_probability=0.0, print_grad_magnitude=True, debug_img_interval=0,
        **options,
    )  # fmt: skip
    method.model._dump_init_info = lambda logger_name: None
    method.init_weights()
    # The frozen encoder is the student at first: without this their distance would be nothing.
    for weight in method.imnet_model.parameters():
        weight.data.mul_(0.9)
    method.gradients.grad_clip = dict(max_norm=0.05)  # of what the ranks have averaged
    return method.double().train()


def batch(network='daformer'):
    """Two source labels of other classes each, of which one has many more things."""
    data = random_batch()
    data['img'], data['target_img'] = data['img'].double(), data['target_img'].double()
    data['gt_semantic_seg'][0] %= 8
    data['gt_semantic_seg'][1] = data['gt_semantic_seg'][1] % 9 + 10
    if network == 'few_labels':
        data['labelled_img'] = data['target_img'].flip(2)
        data['labelled_img_metas'] = data['target_img_metas']
        data['labelled_gt_semantic_seg'] = data['gt_semantic_seg'].flip(3)
    return data


def train(method, data, rank=0):
    """The logs, gradients and networks of a few steps."""
    weights = [*method.model.parameters(), *method.trained_beside()]
    optimizer = torch.optim.SGD(weights, lr=0.01)
    logs, gradients = [], []
    for iteration in range(ITERATIONS):
        step = Step(0, iteration, rank)
        logs.append(method.train_step(data, optimizer, step=step)['log_vars'])
        gradients.append([weight.grad for weight in weights])
        gradients[-1] = [None if g is None else g.clone() for g in gradients[-1]]
    return dict(logs=logs, gradients=gradients, networks=method.state_dict())


def train_rank(network):
    with init_distributed('cpu'):
        method = build(network)
        if torch.distributed.get_rank() == 1:
            with torch.no_grad():
                next(method.model.backbone.parameters()).zero_()  # rank 0 decides
        method.student.distribute()
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        messages, all_reduce = [], torch.distributed.all_reduce
        torch.distributed.all_reduce = lambda tensor: messages.append(1) or all_reduce(tensor)
        data = batch(network)
        for key, values in data.items():
            size = len(values) // world_size
            data[key] = values[rank * size : (rank + 1) * size]
        found = train(method, data, rank)
        torch.save({**found, 'messages': len(messages)}, f'rank_{rank}.pt')


def _printed(folder):
    return '\n'.join(path.read_text() for path in sorted(folder.glob('printed_*.txt')))


LONG = ('mic_hrda', 'vfm_uda', 'few_labels')
LONG = [pytest.param(name, marks=pytest.mark.long) for name in LONG]


@pytest.fixture(scope='module', params=['daformer', *LONG])
def network(request):
    return request.param


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory, network):
    folder = tmp_path_factory.mktemp('ranks')
    assert Ranks(folder, train_rank, network).end() == [0, 0], _printed(folder)
    return [torch.load(folder / f'rank_{rank}.pt') for rank in range(2)]


def test_two_ranks_have_the_gradients_losses_and_networks_of_one(two_ranks, network, one_thread):
    alone = train(build(network), batch(network))
    assert ('labelled.decode.loss_ce' in alone['logs'][0]) == (network == 'few_labels')
    assert alone['logs'][0]['src.loss_imnet_feat_dist'] > 0
    assert 0 < alone['logs'][0]['pseudo_label_weight'] < 1
    for found in two_ranks:
        for one, other in zip(found['logs'], alone['logs'], strict=True):
            assert list(one) == list(other)
            for name, value in other.items():
                if 'grad' not in name:  # norms on each rank have a mean that is another number
                    assert one[name] == pytest.approx(value, rel=1e-6), name
        for one, other in zip(found['gradients'][0], alone['gradients'][0], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert torch.allclose(one, other, atol=1e-9, rtol=0)
        for name, weight in alone['networks'].items():
            assert torch.allclose(found['networks'][name], weight, atol=1e-9, rtol=0), name


def test_an_iteration_takes_four_messages_beside_the_gradients(two_ranks, network):
    """The size of the thing mask, the classes, the trusted ratio; then all that is logged.

    Gradients of a head that is not the student's are one more.
    """
    number = 5 if network == 'vfm_uda' else 4
    assert [found['messages'] for found in two_ranks] == [number * ITERATIONS] * 2


def test_ranks_keep_equal_students_and_teachers(two_ranks):
    one, other = (found['networks'] for found in two_ranks)
    assert any(name.startswith('ema_model.') for name in one)
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
