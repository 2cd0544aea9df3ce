# MIC(HRDA), Cityscapes to ACDC. Unlike GTA to Cityscapes (gtaHR2csHR_mic_hrda.py), one source and
# one target image are masked and their colours stay: the source is real, so that its labels teach
# context, too, and night, fog and rain are changes of colour themselves (Table 6).
_base_ = ['../hrda/csHR2acdcHR_hrda.py']
seed = 0
uda = dict(
    mask_mode='separate',
    mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=64),
)
name = 'csHR2acdcHR_mic_hrda_s0'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_m64-0.7-sep'
