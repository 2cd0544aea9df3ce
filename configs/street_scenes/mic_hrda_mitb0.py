# MIC(HRDA) on StreetScenes: hrda_mitb0.py, and masked target images as in mic_mitb0.py.
_base_ = ['hrda_mitb0.py']
uda = dict(
    mask_mode='separatetrgaug',
    mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=16),
)
name = 'street_scenes_mic_hrda_mitb0'
name_uda = 'dacs_rcs0.01_cpl_m16-0.7-spta'
