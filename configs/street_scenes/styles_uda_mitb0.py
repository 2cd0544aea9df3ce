# StreetScenes in several styles: self-training on all three targets at once, with the options of
# uda_mitb0.py.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/uda_street_scenes_styles_128x128.py',
    '../_base_/uda/dacs.py',
    '../_base_/schedules/street_scenes.py',
]
data = dict(
    train=dict(rare_class_sampling=dict(min_pixels=300, class_temp=0.01, min_crop_ratio=0.5))
)
uda = dict(pseudo_weight_ignore_bottom=13, pseudo_threshold=0.9, debug_img_interval=100)
runner = dict(type='IterBasedRunner', max_iters=150)
checkpoint_config = dict(by_epoch=False, interval=150, max_keep_ckpts=1)
evaluation = dict(interval=150, metric='mIoU')
seed = 0
n_gpus = 1

# Meta information: names of work_dirs and tables.
name = 'street_scenes_styles_uda_daformer_mitb0'
exp = 'street_scenes'
name_dataset = 'street_scenes_styles'
name_architecture = 'daformer_sepaspp_mitb0'
name_encoder = 'mitb0'
name_decoder = 'daformer_sepaspp'
name_uda = 'dacs_rcs0.01_cpl'
name_opt = 'adamw_4e-03_pmFalse_poly10warm_1x4_150it'
