# MIC on StreetScenes: uda_mitb0.py, and masked target images, whose hidden parts the student has to
# infer from the context. Start it from the same weights (see there).
_base_ = ['uda_mitb0.py']
uda = dict(
    mask_mode='separatetrgaug',
    mask_lambda=1,
    # Published are a sixteenth of the crop's side; a block of 8 pixels would hide two positions of
    # the features.
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=16),
)
name = 'street_scenes_mic_daformer_mitb0'
name_uda = 'dacs_rcs0.01_cpl_m16-0.7-spta'
