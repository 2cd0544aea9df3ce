"""Config keys that nothing reads are refused before a run; those that something reads are not."""

import inspect
import json
import re
from pathlib import Path

import mmcv
import pytest

from mmseg.engine import config, evaluation, performance, preflight, train, trained
from mmseg.engine.checks.config import SETTINGS, TABLES, check_keys
from mmseg.engine.config import as_dict, load_config
from mmseg.models import uda
from mmseg.models.builder import BACKBONES, HEADS, MODELS
from mmseg.models.decode_heads.fcn_head import FCNHead
from mmseg.models.uda.base import UDAMethod
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
        (f'{FUSION}.norm_cfg.requires_gard', f'{FUSION}.norm_cfg.requires_grad'),
        (f'{HEAD}.loss_decode.loss_wieght', f'{HEAD}.loss_decode.loss_weight'),
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


@pytest.mark.parametrize(
    ('key', 'option'),
    [
        ('embed_dim', 'build_decoder'),
        ('fusion_cfg.dilation', 'dilations'),
        ('fusion_cfg.type', 'aspp'),
    ],
)
def test_misspelled_option_of_a_decoder(key, option):
    said = problem({f'{HEAD}.decoder_params.{key}': 'asp'})
    assert option in said
    assert ('asp' if key.endswith('type') else key.rpartition('.')[2]) in said


@pytest.mark.parametrize(
    ('key', 'path', 'meant'),
    [
        (f'{SOURCE}.pipeline.3.crop_sise', f'{SOURCE}.pipeline[3]', 'crop_size'),
        ('data.val.pipeline.1.transforms.0.keep_ratoi', 'data.val.pipeline[1].transforms[0]',
         'keep_ratio'),
        ('log_config.hooks.0.by_epohc', 'log_config.hooks[0]', 'by_epoch'),
    ],
)  # fmt: skip
def test_misspelled_key_in_lists(key, path, meant):
    wrong = key.rpartition('.')[2]
    assert problem({key: (4, 4)}) == (
        f'{path}.{wrong}: nothing reads this key; did you mean {path}.{meant}?'
    )


@pytest.mark.parametrize(
    ('key', 'value', 'says'),
    [
        ('mask_generator.mask_block_size', 0, 'a number above 0'),
        ('mask_generator.mask_ratio', 7, 'a number from 0 to 1'),
        ('mask_generator.mask_ratio', None, 'a number from 0 to 1'),
        ('mask_generator.mask_rato', 0.5, 'mask_ratio'),
        ('mask_alpha', 1.5, "'same', or a number from 0 to 1"),
        ('mask_pseudo_threshold', 'all', "'same', or a number from 0 to 1"),
        ('mask_lambda', -1, 'a number from 0'),
        ('lambda_adv_target.main', 'much', 'a number from 0'),
        ('lambda_adv_target.mian', 0.1, 'lambda_adv_target.main'),
    ],
)
def test_options_of_masking_and_adversaries(key, value, says):
    uda = {'mask_generator': {'type': 'block', 'mask_ratio': 0.7, 'mask_block_size': 64}}
    place = f'uda.{key}'
    if key.startswith('lambda'):
        uda = {'_delete_': True, 'type': 'AdvSeg', 'lambda_adv_target': {'aux': 1}}
        assert problem({'uda': uda}) == 'uda.lambda_adv_target.main is missing'
    assert problem({'uda': uda, place: value}).startswith(place)
    assert says in problem({'uda': uda, place: value})


def test_key_that_only_a_base_takes(monkeypatch):
    class Plain(UDAMethod):
        def __init__(self, model, weight=1):
            super().__init__(model)

    monkeypatch.setitem(MODELS.module_dict, 'Plain', Plain)
    check({'uda': {'_delete_': True, 'type': 'Plain', 'weight': 2}})
    wrong = {'_delete_': True, 'type': 'Plain', 'debug_img_interval': 10}
    assert problem({'uda': wrong}).startswith('uda.debug_img_interval: nothing reads this key')


def test_one_number_is_no_mean_of_three_channels():
    for path in ('data.val.pipeline.1.transforms.2', 'data.train.target.pipeline.4'):
        said = problem({f'{path}.std': 58.0})
        assert 'std of Normalize is 58.0; it has to be a list of three numbers' in said


def test_key_that_is_like_no_other():
    said = problem({'runner.epochs': 3})
    assert said == 'runner.epochs: nothing reads this key; known are max_iters, type.'
    said = problem({'data.train.rare_class_sampling.quota': 3})
    assert said.endswith('known are class_temp, crop_tries, min_crop_ratio, min_pixels.')


@pytest.mark.parametrize(
    ('key', 'value', 'meant'),
    [
        ('model.type', 'EncodeDecoder', 'EncoderDecoder'),
        ('model.backbone.type', 'mit_b55', 'mit_b5'),
        (f'{HEAD}.type', 'DAFormerHed', 'DAFormerHead'),
        (f'{HEAD}.loss_decode.type', 'CrossEntropy', 'CrossEntropyLoss'),
        (f'{FUSION}.norm_cfg.type', 'SyncBNN', 'SyncBN'),
        ('uda.type', 'DACSS', 'DACS'),
        ('data.val.type', 'CityscapeDataset', 'CityscapesDataset'),
        (f'{SOURCE}.pipeline.2.type', 'Resise', 'Resize'),
        ('optimizer.type', 'AdmaW', 'AdamW'),
    ],
)
def test_type_that_does_not_exist(key, value, meant):
    path = key.replace('.2.', '[2].')
    assert problem({key: value}) == f'{path}: there is no {value}; did you mean {meant}?'


def test_policy_and_runner_that_do_not_exist():
    assert 'poly' in problem({'lr_config.policy': 'ploy'})
    assert 'IterBasedRunner' in problem({'runner.type': 'EpochBasedRunner'})


@pytest.mark.parametrize('key', ['uda', 'model.backbone'])
def test_a_name_in_place_of_a_dict(key):
    assert problem({key: 'mit_b3'}) == f"{key} is 'mit_b3'; it has to be a dict"


def test_timm_is_asked_for_its_own_keys():
    encoder = {'type': 'TimmEncoder', 'model_name': 'convnext_atto', 'drop_path_rate': 0.1}
    check({'model.backbone': {**encoder, '_delete_': True}})
    check({'model.backbone': {**encoder, '_delete_': True, 'with_cp': True}})
    with pytest.raises(UserError, match=r'model.backbone.drop_path_rat: nothing reads this key'):
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
    ],
)
def test_variable_of_a_file_that_is_like_a_key(tmp_path, text, meant):
    said = problem(path=leaf(tmp_path, text))
    assert said == f'{text.split()[0]}: nothing reads this key; did you mean {meant}?'


def test_helper_variables(tmp_path):
    path = leaf(tmp_path, 'tempo = 0.9\nmix = dict(alpha=0.5)\nuda = {**mix}')
    check({'img_norm_cfg': {}}, path)
    assert problem({'sed': 1}, path).startswith('sed: nothing reads')


def test_helper_variables_of_the_base_files_stand_anywhere(tmp_path):
    text = load_config(str(UDA_CONFIG)).pretty_text
    path = tmp_path / 'whole.py'
    path.write_text(text)  # in one file, without bases
    assert all(f'{name} = ' in text for name in ('crop_size', 'dist_params', 'target_val'))
    check(path=path)


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
        {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='a.pth'),
         'model.pretrained': None},
        {FUSION: dict(type='isa', isa_channels=16, norm_cfg=dict(type='BN'), _delete_=True)},
        {'model.auxiliary_head': [dict(type='FCNHead', in_channels=32, channels=8, num_classes=2)]},
        {f'{SOURCE}.gt_seg_map_loader_cfg': dict(imdecode_backend='cv2')},
        {'optimizer': dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, _delete_=True,
                           paramwise_cfg=dict(bias_lr_mult=2.0, bypass_duplicate=True))},
        {'optimizer.constructor': 'LearningRateDecayOptimizerConstructor',
         'optimizer.paramwise_cfg': dict(num_layers=6, decay_rate=0.9, decay_type='layer_wise'),
         'model.pretrained': None,
         'model.backbone': dict(type='BEiT', num_layers=4, embed_dims=48, out_indices=[0, 1, 2, 3],
                                _delete_=True),
         f'{HEAD}.in_channels': [48] * 4},
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
    head = dict(type='FCNHead', in_channels=32, channels=1, num_classes=19, in_index=0)
    points = dict(
        type='CascadeEncoderDecoder', num_stages=2, _delete_=True, backbone=dict(type='mit_b0'),
        decode_head=[head, dict(head, type='PointHead', in_channels=[32], in_index=[0], num_fcs=3)],
        train_cfg=dict(num_points=20, oversample_ratio=3, importance_sample_ratio=0.75),
        test_cfg=dict(mode='whole', subdivision_steps=2, subdivision_num_points=8, scale_factor=2),
    )  # fmt: skip
    check({'model': points}, SOURCE_ONLY_CONFIG)
    points['decode_head'][1]['num_fc'] = 2
    said = problem({'model': points}, SOURCE_ONLY_CONFIG)
    assert said.startswith('model.decode_head[1].num_fc: nothing reads')


@pytest.fixture
def own_classes():
    """Classes of a user's: one forwards its kwargs, one takes any."""

    @HEADS.register_module()
    class OwnHead(FCNHead):
        def __init__(self, sharpness=1, **kwargs):
            super().__init__(num_convs=1, **kwargs)
            self.sharpness = sharpness

    @BACKBONES.register_module()
    class OwnEncoder:
        def __init__(self, **options):
            self.options = options

    yield
    for registry, name in ((HEADS, 'OwnHead'), (BACKBONES, 'OwnEncoder')):
        del registry.module_dict[name]


def test_own_classes(own_classes):
    check({'model.backbone': dict(type='OwnEncoder', whatever=1, _delete_=True)})
    own = dict(type='OwnHead', sharpness=2, in_channels=32, channels=8, num_classes=19)
    check({HEAD: dict(own, _delete_=True)})
    said = problem({HEAD: dict(own, sharpnes=2, _delete_=True)})
    assert said.endswith(f'did you mean {HEAD}.sharpness?')
    # It sets this itself, so that a config cannot.
    assert 'num_convs' in problem({HEAD: dict(own, num_convs=2, _delete_=True)})


def test_all_that_the_code_reads_is_known():
    from mmseg.engine import run, run_start
    from tools import launch, runs

    read = set()
    modules = (uda, config, evaluation, performance, preflight, train, trained)
    for module in (*modules, run, run_start, launch, runs):
        read |= set(re.findall(r"\bcfg(?:\.get\('|\['|\.)(\w+)", inspect.getsource(module)))
    read = {
        key for key in read if not hasattr(mmcv.Config, key) and key not in ('_cfg_dict', 'get')
    }
    assert {'model', 'uda', 'work_dir', 'cudnn_benchmark', 'resume_from'} < read
    assert read - {'custom_imports'} <= SETTINGS | TABLES


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

    path = leaf(empty_folder, 'sede = 1')
    with refused('sede: nothing reads this key'):
        train.main([str(path)])
    with refused('runner.max_iter: nothing reads this key; did you mean runner.max_iters?'):
        train.main([str(UDA_CONFIG), '--cfg-options', 'runner.max_iter=3'])


def test_testing_is_lenient(tmp_path):
    """A config of another time is loaded, whatever else it holds."""
    path = Path(leaf(tmp_path, 'sede = 1\nuda = dict(alhpa=1)'))
    assert load_config(str(path)).uda.alhpa == 1
