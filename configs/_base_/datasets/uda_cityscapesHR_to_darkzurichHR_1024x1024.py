# UDA from day (Cityscapes) to night (Dark Zurich) at full resolution. All but the target's folders
# is as for ACDC.
_base_ = 'uda_cityscapesHR_to_acdcHR_1024x1024.py'
target_val = dict(type='DarkZurichDataset', data_root='data/dark_zurich/')
data = dict(
    train=dict(
        target=dict(
            type='DarkZurichDataset',
            data_root='data/dark_zurich/',
            img_dir='rgb_anon/train/night',
        )
    ),
    val=target_val,
    test=target_val,
)
