# MIC(HRDA), Cityscapes to ACDC. Unlike GTA to Cityscapes (gtaHR2csHR_mic_hrda.py), one source and
# one target image are masked, without colour augmentation: the source is real, too, and its labels
# are sure, while pseudo-labels of night and fog are not (Table 6 compares). No margins, see HRDA's.
_base_ = ['../hrda/csHR2acdcHR_hrda.py']
seed = 0
uda = dict(
    mask_mode='separate',
    mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=64),
)
name = 'csHR2acdcHR_mic_hrda_s0'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_m64-0.7-sep'
