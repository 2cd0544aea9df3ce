"""A run at small scale: on StreetScenes, from random weights, for two iterations.

It shows that a run starts, evaluates and saves here, in seconds and without data sets or weights to
download. The network and the way of training stay as they are.
"""

from tools.run_config import START_UP_TEST_ITERATIONS

UDA_DATA = '_base_/datasets/uda_street_scenes_128x128.py'
SUPERVISED_DATA = '_base_/datasets/street_scenes_128x128.py'
TARGET_WITH_LABELS = {
    'type': 'CityscapesDataset',
    'data_root': 'data/street_scenes/cityscapes/',
    'img_dir': 'leftImg8bit/train',
    'ann_dir': 'gtFine/train',
}
SMALLER = 512 // 128  # the side of the published crops to that of StreetScenes'
MIN_PIXELS = 10  # of a class in an image: even a handful of images has some of every class


def small_scale(config):
    """Returns the configuration at small scale, under a name and an `exp` that say so.

    Args:
        config: as `tools.run_config.run_config` makes it; stays as it is.
    """
    train, uda = config['data'].get('train', {}), config.get('uda')
    if uda is None:
        data_file = SUPERVISED_DATA
        if config['name_uda'] == 'target-only':
            train = TARGET_WITH_LABELS
    else:
        data_file = UDA_DATA
        if 'rare_class_sampling' in train:
            sampling = {**train['rare_class_sampling'], 'min_pixels': MIN_PIXELS}
            train = {'rare_class_sampling': sampling}
        # All that a run sets there itself are the rows of the crop without weight.
        uda = {key: rows // SMALLER for key, rows in uda.items()}
    iterations = START_UP_TEST_ITERATIONS
    return {
        **config,
        '_base_': [
            data_file if base.startswith('_base_/datasets/') else base for base in config['_base_']
        ],
        'model': {**config['model'], 'pretrained': None},
        # Starting four loaders would take longer than loading the few images.
        'data': {**config['data'], 'train': train, 'workers_per_gpu': 1},
        **({} if uda is None else {'uda': uda}),
        'runner': {**config['runner'], 'max_iters': iterations},
        # Gigabytes of optimizer state in every run would help nobody.
        'checkpoint_config': {
            **config['checkpoint_config'], 'interval': iterations, 'save_optimizer': False,
        },
        'evaluation': {**config['evaluation'], 'interval': iterations},
        'log_config': {'interval': 1},
        'name': f'small_{config["name"]}',
        'exp': f'{config["exp"]}-small',
        'name_dataset': 'street_scenes',
    }  # fmt: skip
