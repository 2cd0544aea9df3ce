# MIC(HRDA), Synthia to Cityscapes. As GTA to Cityscapes (gtaHR2csHR_mic_hrda.py) but for the
# source.
_base_ = ['../hrda/synHR2csHR_hrda.py']
seed = 0
uda = dict(
    mask_mode='separatetrgaug',
    mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=64),
)
name = 'synHR2csHR_mic_hrda_s0'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_cpl2_m64-0.7-spta'
