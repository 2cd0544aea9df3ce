# The lower bound on StreetScenes: a small DAFormer trained on the game-like style alone and tested
# on the camera-like one. What UDA gains is the distance to uda_mitb0.py. Draw the data first:
#   python tools/make_street_scenes.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/street_scenes_128x128.py',
    '../_base_/schedules/street_scenes.py',
]
runner = dict(type='IterBasedRunner', max_iters=300)
checkpoint_config = dict(by_epoch=False, interval=300, max_keep_ckpts=1)
evaluation = dict(interval=300, metric='mIoU')
seed = 0
n_gpus = 1

# Meta information: names of work_dirs and tables.
name = 'street_scenes_source-only_daformer_mitb0'
exp = 'street_scenes'
name_dataset = 'street_scenes'
name_architecture = 'daformer_sepaspp_mitb0'
name_encoder = 'mitb0'
name_decoder = 'daformer_sepaspp'
name_uda = 'source-only'
name_opt = 'adamw_4e-03_pmFalse_poly10warm_1x4_300it'
