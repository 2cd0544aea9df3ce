"""Config keys that nothing reads are refused before a run; those that something reads are not."""

import ast
import json
from pathlib import Path

import mmcv
import pytest

from mmseg.datasets.builder import PIPELINES
from mmseg.engine import config, determinism, evaluation, preflight, train, trained
from mmseg.engine.config import as_dict, load_config
from mmseg.engine.config_checks.known import keys_read_in, keys_taken_by
from mmseg.engine.config_checks.unread import check_keys
from mmseg.models.builder import BACKBONES, HEADS
from mmseg.models.decode_heads.fcn_head import FCNHead
from mmseg.models.uda import build
from mmseg.utils.user_error import UserError
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, SOURCE_ONLY_CONFIG, UDA_CONFIG

GTA_CONFIG = (
    CHECKOUT / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
)
HEAD, SOURCE = 'model.decode_head', 'data.train.source'
FUSION = f'{HEAD}.decoder_params.fusion_cfg'


def check(overrides=None, path=GTA_CONFIG):
    check_keys(load_config(str(path), overrides), str(path))


def problem(overrides=None, path=GTA_CONFIG):
    """What is wrong with a config, without the config's name."""
    with pytest.raises(UserError) as error:
        check(overrides, path)
    message, start = str(error.value), f'config {path}: '
    assert message.startswith(start) and '\n' not in message
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('sede', 'seed'),
        ('optimzer', 'optimizer'),
        ('use_ddp_wraper', 'use_ddp_wrapper'),
        ('model.decode_haed', 'model.decode_head'),
        ('model.test_cfg.mdoe', 'model.test_cfg.mode'),
        ('model.train_cfg.wrok_dir', 'model.train_cfg.work_dir'),
        ('model.backbone.drop_path', 'model.backbone.drop_path_rate'),
        (f'{HEAD}.dropout_ration', f'{HEAD}.dropout_ratio'),
        (f'{HEAD}.norm_cfg.requires_gard', f'{HEAD}.norm_cfg.requires_grad'),
        (f'{HEAD}.loss_decode.loss_wieght', f'{HEAD}.loss_decode.loss_weight'),
        (f'{HEAD}.decoder_params.embed_dim', f'{HEAD}.decoder_params.embed_dims'),
        (f'{HEAD}.decoder_params.embed_cfg.norm_cgf', f'{HEAD}.decoder_params.embed_cfg.norm_cfg'),
        (f'{FUSION}.dilation', f'{FUSION}.dilations'),
        (f'{FUSION}.act_cfg.inplac', f'{FUSION}.act_cfg.inplace'),
        ('uda.alhpa', 'uda.alpha'),
        ('uda.pseudo_treshold', 'uda.pseudo_threshold'),
        ('data.sample_per_gpu', 'data.samples_per_gpu'),
        ('data.val_dataloader.sample_per_gpu', 'data.val_dataloader.samples_per_gpu'),
        ('data.train.rare_class_samplin', 'data.train.rare_class_sampling'),
        ('data.train.rare_class_sampling.class_tmp', 'data.train.rare_class_sampling.class_temp'),
        (f'{SOURCE}.img_dri', f'{SOURCE}.img_dir'),
        ('data.test.seg_map_sufix', 'data.test.seg_map_suffix'),
        ('runner.max_iter', 'runner.max_iters'),
        ('optimizer.weigth_decay', 'optimizer.weight_decay'),
        ('optimizer.paramwise_cgf', 'optimizer.paramwise_cfg'),
        ('optimizer.paramwise_cfg.norm_decay', 'optimizer.paramwise_cfg.norm_decay_mult'),
        ('optimizer.paramwise_cfg.custom_keys.head.lr_mul',
         'optimizer.paramwise_cfg.custom_keys.head.lr_mult'),
        ('lr_config.warmup_iter', 'lr_config.warmup_iters'),
        ('optimizer_config.grad_clp', 'optimizer_config.grad_clip'),
        ('optimizer_config.grad_clip.max_nrom', 'optimizer_config.grad_clip.max_norm'),
        ('evaluation.intervall', 'evaluation.interval'),
        ('checkpoint_config.max_keep_ckpt', 'checkpoint_config.max_keep_ckpts'),
        ('log_config.intervall', 'log_config.interval'),
        ('speed.acumulate', 'speed.accumulate'),
        ('optimizer.fussed', 'optimizer.fused'),
        ('model.backbone.with_pc', 'model.backbone.with_cp'),
    ],
)  # fmt: skip
def test_misspelled_key(key, meant):
    config = SOURCE_ONLY_CONFIG if key.startswith('optimizer_config') else GTA_CONFIG
    said = problem({key: 1}, config)
    assert said == f'{key}: nothing reads this key; did you mean {meant}?'


def test_misspelled_key_in_lists():
    overrides = {
        f'{SOURCE}.pipeline.3.crop_sise': (4, 4),
        'data.val.pipeline.1.transforms.0.keep_ratoi': True,
        'log_config.hooks.0.by_epohc': False,
    }
    assert problem(overrides) == (
        f'{SOURCE}.pipeline[3].crop_sise: nothing reads this key; did you mean '
        f'{SOURCE}.pipeline[3].crop_size? Also: data.val.pipeline[1].transforms[0].keep_ratoi, '
        'log_config.hooks[0].by_epohc.'
    )


def test_key_that_is_like_no_other():
    said = problem({'runner.epochs': 3})
    assert said == 'runner.epochs: nothing reads this key; known are max_iters, type.'
    said = problem({'data.train.rare_class_sampling.quota': 3})
    assert said.endswith('known are class_temp, min_crop_ratio, min_pixels.')


@pytest.mark.parametrize(
    ('key', 'value', 'meant', 'another'),
    [
        ('model.type', 'EncodeDecoder', 'EncoderDecoder', 'CascadeEncoderDecoder'),
        ('model.backbone.type', 'mit_b55', 'mit_b5', 'mit_b0'),
        (f'{HEAD}.type', 'DAFormerHed', 'DAFormerHead', 'UPerHead'),
        (f'{HEAD}.loss_decode.type', 'CrossEntropy', 'CrossEntropyLoss', 'DiceLoss'),
        (f'{HEAD}.norm_cfg.type', 'SyncBNN', 'SyncBN', 'GN'),
        (f'{FUSION}.type', 'asp', 'aspp', 'isa'),
        ('uda.type', 'DACSS', 'DACS', 'DACS'),
        ('data.val.type', 'CityscapeDataset', 'CityscapesDataset', 'GTADataset'),
        (f'{SOURCE}.pipeline.2.type', 'Resise', 'Resize', 'RandomCrop'),
        ('runner.type', 'EpochBasedRunner', 'IterBasedRunner', 'IterBasedRunner'),
        ('optimizer.type', 'AdmaW', 'AdamW', 'SGD'),
        ('optimizer.constructor', 'DefaultConstructor', 'DefaultOptimizerConstructor',
         'LearningRateDecayOptimizerConstructor'),
        ('lr_config.policy', 'ploy', 'poly', 'CosineAnnealing'),
    ],
)  # fmt: skip
def test_type_that_does_not_exist(key, value, meant, another):
    said = problem({key: value})
    path = key.replace('.2.', '[2].')
    start, names = said.split('There are ')
    assert start == f'{path}: there is no {value}; did you mean {meant}? '
    names = names.rstrip('.').split(', ')
    assert meant in names and another in names
    assert ('mit_b0' in names) == ('backbone' in key)


@pytest.mark.parametrize('key', ['uda', 'model.backbone', f'{HEAD}.decoder_params'])
def test_a_name_in_place_of_a_dict(key):
    assert problem({key: 'mit_b3'}).startswith(f"{key}: is 'mit_b3', and a dict is needed")


def test_timm_is_asked_for_its_own_keys():
    encoder = {'type': 'TimmEncoder', 'model_name': 'convnext_atto', 'drop_path_rate': 0.1}
    check({'model.backbone': {**encoder, '_delete_': True}})
    check({'model.backbone': {**encoder, '_delete_': True, 'with_cp': True}})
    with pytest.raises(UserError, match=r'convnext_atto.*drop_path_rat'):
        check({'model.backbone': {**encoder, '_delete_': True, 'drop_path_rat': 0.1}})


def leaf(folder, text, base=UDA_CONFIG):
    """A config file of a user's; its path."""
    path = folder / 'leaf.py'
    path.write_text(f'_base_ = [{str(base)!r}]\n{text}\n')
    return path


@pytest.mark.parametrize(
    ('text', 'meant'),
    [
        ('evalution = dict(interval=10)', 'evaluation'),
        ('sede = 1', 'seed'),
        ('n_gpu = 1', 'n_gpus'),
        ('crop_sise = 1', 'crop_size'),
        ('xyz = 3\nuda = dict(alpha=0.5)', None),
    ],
)
def test_variable_of_a_file_that_nothing_uses(tmp_path, text, meant):
    said = problem(path=leaf(tmp_path, text))
    assert said.startswith(f'{text.split()[0]}: nothing reads this key; ')
    if meant:
        assert said.endswith(f'did you mean {meant}?')
    else:
        assert ' dist_params, evaluation, exp, ' in said and ' dict,' not in said


def test_helper_variables(tmp_path):
    (tmp_path / 'base.py').write_text(f'_base_ = [{str(UDA_CONFIG)!r}]\ntempo = 0.5\n')
    text = 'sede = 3\nseed = sede + 1\ntempo = 0.9\nmix = dict(alpha=0.5)\nuda = {**mix}'
    path = leaf(tmp_path, text, base=tmp_path / 'base.py')
    check(path=path)  # its own, and one of its base file
    check({'img_norm_cfg': {}}, path)
    assert problem({'sed': 1}, path).startswith('sed: nothing reads')


def test_helper_variables_of_the_base_files_stand_anywhere(tmp_path):
    text = load_config(str(UDA_CONFIG)).pretty_text
    path = tmp_path / 'whole.py'
    path.write_text(text)  # in one file, without bases
    assert all(f'{name} = ' in text for name in ('crop_size', 'dist_params', 'target_val'))
    check(path=path)


def test_resolved_config_keeps_its_helper_variables(tmp_path):
    cfg = load_config(str(leaf(tmp_path, 'sede = 3\nmine = 1\nuda = dict(alpha=mine / sede)')))
    resolved = tmp_path / 'resolved.json'
    resolved.write_text(json.dumps(as_dict(cfg)))
    # By another's hand: `sede` may be a mistake, `mine` is like no key.
    assert problem(path=resolved).startswith('sede: nothing reads')
    resolved.write_text(json.dumps({**as_dict(cfg), 'work_dir': 'work_dirs/left_by_a_run'}))
    check(path=resolved)
    assert problem({'sde': 1}, resolved).startswith('sde: nothing reads')


@pytest.mark.parametrize('path', [GTA_CONFIG, UDA_CONFIG, SOURCE_ONLY_CONFIG], ids=lambda p: p.stem)
def test_configs_of_the_project(tmp_path, path):
    cfg = load_config(str(path))
    check_keys(cfg, str(path))
    resolved = tmp_path / 'resolved.json'
    resolved.write_text(json.dumps(as_dict(cfg)))
    check(path=resolved)


def test_keys_in_circulation():
    check(
        {
            'uda.imnet_feature_dist_scale_method': 'ratio',
            'model.backbone.style': 'pytorch',
            'model.backbone.ema_drop_path_rate': 0.1,
            'model.train_cfg.work_dir': 'work_dirs/somewhere',
            f'{HEAD}.type': 'UniHead',
            f'{HEAD}.decoder_params.embed_cfg.act_cfg': None,
            f'{HEAD}.decoder_params.embed_neck_cfg': 'same_as_embed_cfg',
            f'{FUSION}.fusion': 'aspp',
            'use_ddp_wrapper': True,
            'find_unused_parameters': False,
            'git_rev': 'abc',
        }
    )


@pytest.mark.parametrize(
    'overrides',
    [
        {'model.test_cfg': dict(mode='slide', stride=(8, 8), crop_size=(16, 16))},
        {f'{HEAD}.sampler': dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100)},
        {f'{HEAD}.init_cfg': dict(type='Normal', std=0.01, override=dict(name='conv_seg'))},
        {f'{HEAD}.loss_decode': [dict(type='CrossEntropyLoss', class_weight=[1.0] * 19)] * 2},
        {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='a.pth')},
        {FUSION: dict(type='aspp', sep=True, dilations=(1, 6), pool=False, _delete_=True,
                      context_cfg=dict(type='isa', isa_channels=16, norm_cfg=dict(type='GN')))},
        {'model.auxiliary_head': [dict(type='FCNHead', in_channels=32, channels=8, num_classes=2)]},
        {f'{SOURCE}.pipeline.4': dict(type='RandomFlip', flip_ratio=0.5)},  # its former name
        {f'{SOURCE}.gt_seg_map_loader_cfg': dict(imdecode_backend='cv2')},
        {'data.train': dict(type='RepeatDataset', times=3, _delete_=True, dataset=dict(
            type='GTADataset', data_root='a', img_dir=['b', 'c'], pipeline=[]))},
        {'data.train': [dict(type='GTADataset', img_dir='b', pipeline=[])] * 2},
        {'optimizer': dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, _delete_=True,
                           paramwise_cfg=dict(bias_lr_mult=2.0, bypass_duplicate=True))},
        {'optimizer.constructor': 'LearningRateDecayOptimizerConstructor',
         'optimizer.paramwise_cfg': dict(num_layers=6, decay_rate=0.9, decay_type='layer_wise')},
        {'lr_config': dict(policy='CosineAnnealing', min_lr=0.0, by_epoch=False, _delete_=True)},
        {'optimizer_config': dict(grad_clip=dict(max_norm=1.0), _delete_=True)},
        {'evaluation.pre_eval': True, 'checkpoint_config.save_optimizer': False},
        {'log_config.hooks': [dict(type='MMSegWandbHook', init_kwargs=dict(project='x'))]},
        {'uda': None},
        {'runner': dict(type='IterBasedRunner', max_iters=1)},
    ],
    ids=lambda overrides: ','.join(overrides),
)  # fmt: skip
def test_unusual_keys_that_are_read(overrides):
    check(overrides)


def test_keys_of_a_points_head():
    head = dict(type='FCNHead', in_channels=1, channels=1, num_classes=19)
    points = dict(
        type='CascadeEncoderDecoder', num_stages=2, _delete_=True, backbone=dict(type='mit_b0'),
        decode_head=[head, dict(head, type='PointHead', num_fcs=3)],
        train_cfg=dict(num_points=20, oversample_ratio=3, importance_sample_ratio=0.75),
        test_cfg=dict(mode='whole', subdivision_steps=2, subdivision_num_points=8, scale_factor=2),
    )  # fmt: skip
    check({'model': points})
    points['decode_head'][1]['num_fc'] = 2
    assert problem({'model': points}).startswith('model.decode_head[1].num_fc: nothing reads')


@pytest.fixture
def own_classes():
    """Classes of a user's: one hands its kwargs on, one takes any, one reads them by name."""

    @HEADS.register_module()
    class OwnHead(FCNHead):
        def __init__(self, sharpness=1, **kwargs):
            """A docstring may
            reach to the left."""
            super().__init__(num_convs=1, **kwargs)
            self.sharpness = sharpness

    @BACKBONES.register_module()
    class OwnEncoder:
        def __init__(self, **options):
            self.options = options

    @PIPELINES.register_module()
    class OwnTransform:
        def __init__(self, **options):
            self.strength = options.get('strength', 1) + options.pop('offset')
            self.kind = options['kind']

    yield OwnHead, OwnEncoder, OwnTransform
    for registry, name in (
        (HEADS, 'OwnHead'),
        (BACKBONES, 'OwnEncoder'),
        (PIPELINES, 'OwnTransform'),
    ):
        del registry.module_dict[name]


def test_own_classes(own_classes):
    head, encoder, transform = own_classes
    assert {'sharpness', 'kernel_size', 'channels', 'sampler'} < keys_taken_by(head)
    # It sets this itself, so that a config cannot.
    assert 'num_convs' not in keys_taken_by(head)
    assert keys_taken_by(encoder) is None
    assert keys_taken_by(transform) == {'strength', 'offset', 'kind'}
    check({'model.backbone': dict(type='OwnEncoder', whatever=1, _delete_=True)})
    own = dict(type='OwnHead', sharpness=2, in_channels=32, channels=8, num_classes=19)
    check({HEAD: dict(own, _delete_=True)})
    said = problem({HEAD: dict(own, sharpnes=2, _delete_=True)})
    assert said.endswith(f'did you mean {HEAD}.sharpness?')
    said = problem({f'{SOURCE}.pipeline.1': dict(type='OwnTransform', strenght=1)})
    assert said.endswith(f'did you mean {SOURCE}.pipeline[1].strength?')


def test_all_that_the_code_reads_is_known():
    from tools import launch, runs, training

    read = set()
    modules = (build, config, determinism, evaluation, preflight, train, trained)
    for module in (*modules, launch, runs, training):
        read |= keys_read_in(module, 'cfg')
    read = {key for key in read if not hasattr(mmcv.Config, key) and key != '_cfg_dict'}
    assert {'model', 'uda', 'work_dir', 'cudnn_benchmark', 'resume_from'} < read
    refused_keys = {'custom_imports'}
    check(dict.fromkeys(read - {'model', 'data', 'runner'} - refused_keys))


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_experiments_refuses(empty_folder):
    import run_experiments

    with refused(str(UDA_CONFIG), 'uda.alhpa: nothing reads this key; did you mean uda.alpha?'):
        run_experiments.main(['--config', str(UDA_CONFIG), '--cfg-options', 'uda.alhpa=0.9'])
    with refused('sede: nothing reads this key; did you mean seed?'):
        run_experiments.main(['--config', str(UDA_CONFIG), '--cfg-options', 'sede=3'])


def test_run_experiments_refuses_before_the_first_run(empty_folder, monkeypatch):
    import run_experiments

    configs = run_experiments.generate_experiment_cfgs(101)[-2:]
    configs[-1]['uda']['alhpa'] = 0.9
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', lambda experiment: configs)
    with refused(configs[-1]['name'], 'did you mean uda.alpha?'):
        run_experiments.main(['--exp', '101'])


def test_train_refuses_its_file_and_its_options(empty_folder):
    from tools import train

    path = leaf(empty_folder, 'optimizer = dict(lrr=1)\nsede = 1')
    with refused('sede: nothing reads this key', 'Also: optimizer.lrr.'):
        train.main([str(path)])
    with refused('runner.max_iter: nothing reads this key; did you mean runner.max_iters?'):
        train.main([str(UDA_CONFIG), '--cfg-options', 'runner.max_iter=3'])


def test_reading_of_keys_in_code():
    code = """
cfg.get('a'), self.cfg['b'], 'c' in cfg, cfg.d, cfg[name]['e'], cfg.pop('f', 1), cfg.items()
getattr(cfg, 'l', 0), hasattr(other, 'm')
other.get('g'), cfg.h.i, cfg['j']['k'], cfg[name]
"""
    from mmseg.engine.config_checks.known import _reads

    assert {key for key, _ in _reads(ast.parse(code), ['cfg'])} == set('abcdefhjl')


def test_testing_is_lenient(tmp_path):
    """A config of another time is loaded, whatever else it holds."""
    path = Path(leaf(tmp_path, 'sede = 1\nuda = dict(alhpa=1)'))
    assert load_config(str(path)).uda.alhpa == 1
