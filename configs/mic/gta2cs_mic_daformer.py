# MIC(DAFormer), GTA to Cityscapes: DAFormer with masked images, at half resolution. Unlike in
# MIC(HRDA) (gtaHR2csHR_mic_hrda.py), blocks have half the side, as all of the image has, and the
# rows without pseudo-labels are those of the crop, as in DAFormer.
_base_ = ['../daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py']
seed = 0
data = dict(workers_per_gpu=1)
uda = dict(
    mask_mode='separatetrgaug',
    mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=32),
)
name = 'gta2cs_mic_daformer_s0'
name_uda = 'dacs_a999_fdthings_rcs0.01_cpl_m32-0.7-spta'
