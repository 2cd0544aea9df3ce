"""The paper's experiments, to be read beside its tables; tools/run_config.py has the names."""

from dataclasses import dataclass

from tools.run_config import Method, Run, look_up, run_config

SOURCE_ONLY = Method('source-only')
TARGET_ONLY = Method('target-only')
DACS = Method('dacs')
FULL = Method('dacs_a999_fdthings', rcs=0.01, cpl=True)
# One after the other, as in table 5.
COMPONENTS = [
    Method('dacs', rcs=float('inf')),  # uniform classes
    Method('dacs', rcs=0.01),
    Method('dacs_fd'),
    Method('dacs_fdthings'),
    Method('dacs_fdthings', rcs=0.01),
    FULL,
]


@dataclass(frozen=True)
class Study:
    """What one table of the paper compares."""

    title: str
    runs: list  # (network, method) pairs; a network is (architecture, encoder)
    seeds: tuple = (0, 1, 2)
    datasets: tuple = (('gta', 'cityscapes'),)  # all runs are done on each
    schedule: str = 'poly10warm'
    start_up_test: bool = False  # two quiet iterations


def grid(networks, methods):
    """Return every network with every method."""
    return [(network, method) for network in networks for method in methods]


DLV2 = ('dlv2red', 'r101v1c')
DANET = ('da_nodbn', 'r101v1c')
ISANET = ('isa_nodbn', 'r101v1c')
DLV3P = ('dlv3p_nodbn', 'r101v1c')
DLV3P_MIT = ('sfa_dlv3p_nodbn', 'mitb5-del')
SEGFORMER = ('segformer', 'mitb5')
SEGFORMER_CNN = ('segformer', 'r101v1c')
NO_CONTEXT = ('daformer_conv1', 'mitb5')
UPERNETS = [('upernet', 'mitb5'), ('upernet_ch256', 'mitb5')]
DAFORMER = ('daformer_sepaspp', 'mitb5')
WITH_CONTEXT = [
    ('daformer_isa', 'mitb5'),
    ('daformer_sepaspp_bottleneck', 'mitb5'),
    ('daformer_aspp', 'mitb5'),
    DAFORMER,
]
CNN_SIZES = [('dlv2red', encoder) for encoder in ('r50v1c', 's50', 's101', 's200')]
RESNEXTS = [('dlv2red', 'x50-32'), ('dlv2red', 'x101-32')]
MIT_B3, MIT_B4 = ('segformer', 'mitb3'), ('segformer', 'mitb4')

STUDIES = {
    1: Study(
        'Table 1: network architectures with and without UDA',
        grid([DLV2, DANET, ISANET, DLV3P, SEGFORMER], [SOURCE_ONLY, DACS, TARGET_ONLY]),
    ),
    2: Study(
        "Table 2: SegFormer's encoder and decoder, each with a CNN's counterpart",
        grid([DLV3P_MIT, SEGFORMER_CNN], [DACS, TARGET_ONLY]),
    ),
    3: Study(
        'Table 3: the size of the encoder',
        grid([*CNN_SIZES, MIT_B3, MIT_B4], [SOURCE_ONLY, DACS, TARGET_ONLY]),
        seeds=(0,),
    ),
    4: Study(
        'Table 4: without learning rate warmup',
        grid([DLV2, SEGFORMER], [DACS, TARGET_ONLY]),
        seeds=(0,),
        schedule='poly10',
    ),
    5: Study(
        'Table 5: rare class sampling, feature distance, slower teacher and pseudo-label crop',
        [*grid([SEGFORMER], COMPONENTS), (DLV2, FULL)],
    ),
    6: Study(
        'Table 7: decoders; its last row is DAFormer on GTA to Cityscapes',
        grid([NO_CONTEXT, *UPERNETS, *WITH_CONTEXT], [FULL, TARGET_ONLY]),
    ),
    7: Study(
        'Table 6: DAFormer on Synthia to Cityscapes',
        [(DAFORMER, FULL)],
        datasets=(('synthia', 'cityscapes'),),
    ),
    8: Study(
        'DAFormer on Cityscapes to ACDC and to Dark Zurich',
        [(DAFORMER, FULL)],
        datasets=(('cityscapes', 'acdc'), ('cityscapes', 'darkzurich')),
    ),
    100: Study(
        'start-up test of every architecture: 2 iterations each',
        grid(
            [
                *(DLV2, DLV3P, DANET, SEGFORMER, ISANET),
                *(*CNN_SIZES, *RESNEXTS, MIT_B4, MIT_B3),
                *(DLV3P_MIT, SEGFORMER_CNN),
                *(NO_CONTEXT, *WITH_CONTEXT, *UPERNETS),
            ],
            [TARGET_ONLY],
        ),
        seeds=(0,),
        start_up_test=True,
    ),
    101: Study(
        'start-up test of every way of training: 2 iterations each',
        grid([SEGFORMER], [SOURCE_ONLY, TARGET_ONLY, DACS, *COMPONENTS]),
        seeds=(0,),
        start_up_test=True,
    ),
}


def generate_experiment_cfgs(experiment):
    """Return the configurations of an experiment's runs in table order."""
    study = look_up(STUDIES, experiment, 'experiment')
    return [
        run_config(
            Run(*dataset, *network, method, study.schedule, seed, study.start_up_test), experiment
        )
        for dataset in study.datasets
        for network, method in study.runs
        for seed in study.seeds
    ]
