"""The data sets that tools/test.py tests on: a config's own, another's, or those of known names."""

import copy
import glob
import os.path as osp
import re
from dataclasses import dataclass

from mmseg.datasets.acdc import CONDITIONS, ACDCDataset
from mmseg.datasets.archives import is_folder
from mmseg.datasets.builder import DATASETS
from mmseg.engine.checks.data import DatasetUse, check_dataset, file_of, list_files, warn_of_unused
from mmseg.engine.class_lists import class_list
from mmseg.engine.config import Config, parse_options, read_file, restore_tuples
from mmseg.engine.data_sets import first_named, group_of, named
from mmseg.utils.user_error import UserError
from tools.given_config import read_config

_FOLDER = osp.join(osp.dirname(__file__), '..', 'configs', '_base_', 'datasets')
_OF_TEST = 'data.test.'


@dataclass
class EvaluationSet:
    """A data set to test on; '' is the name of a config's only one."""

    name: str
    config: dict  # as in data.test
    file: str  # that it is stated in, for messages

    @property
    def title(self):
        return self.name or 'data.test'


def chosen_sets(args):
    """Return the run's config and the data sets that are asked for.

    Args:
        args (argparse.Namespace): With ``config``, ``checkpoint``, ``data``, ``on`` and
            ``cfg_options``; options of ``data.test`` are put over what is chosen.

    Returns:
        tuple[mmcv.Config, list[EvaluationSet]]: The config's ``data.test`` is as it states it.
    """
    options = parse_options(args.cfg_options)
    of_sets = {key: value for key, value in options.items() if key.startswith(_OF_TEST)}
    others = {key: value for key, value in options.items() if key not in of_sets}
    cfg = read_config(args.config or args.checkpoint, others)
    own = named(cfg.data.test)
    if of_sets and not (args.data or args.on or any(own)):
        cfg, of_sets = read_config(args.config or args.checkpoint, options), {}
        own = named(cfg.data.test)
    if args.on:
        found = [_set_of_name(cfg, name, own, of_sets) for name in dict.fromkeys(args.on)]
    elif args.data:
        found = [
            EvaluationSet(name, _with_runs_transforms(cfg, config), args.data)
            for name, config in named(_test_sets_of(args.data)).items()
        ]
        for entry in found:
            entry.config = _put_over(entry.config, _options_of(entry.name, of_sets))
    else:
        found = [
            EvaluationSet(name, _put_over(config, _options_of(name, of_sets)), file_of(cfg))
            for name, config in own.items()
        ]
    _check_are_read(of_sets, [entry.name for entry in found])
    for entry in found:
        said = f'--data {args.data}' if args.data else entry.title
        _fit_classes(cfg, entry.config, said)
    return cfg, found


def known_names():
    """The names of the evaluation configs, ``configs/_base_/datasets/eval_NAME.py``."""
    paths = sorted(glob.glob(osp.join(glob.escape(_FOLDER), 'eval_*.py')))
    names = [osp.basename(path).removeprefix('eval_').removesuffix('.py') for path in paths]
    return names + [f'acdc/{condition}' for condition in CONDITIONS]


def absence_of(entry):
    """Say what is missing, and where, of a data set of which there is nothing; else None."""
    folders = _folders(entry.config)
    if not folders or any(map(is_folder, folders)):
        return None
    try:
        list_files(entry.config, True, entry.file)
    except UserError as error:
        return str(error)
    return None


def problem_of(entry, num_classes, needs_labels=True):
    """Return what is wrong with the files of a data set that is there, in a line; else None."""
    use = DatasetUse(entry.title, entry.config, needs_labels, num_classes, config_file=entry.file)
    problems = check_dataset(use).problems
    return problems[0] if problems else None


def check_alone(entry, needs_labels):
    """Refuse the only data set of a test if its files are not there."""
    warn_of_unused(list_files(entry.config, needs_labels, entry.file).dataset)


def use_test_split(dataset):
    """Let the config of a data set name the test split where it names that for validation."""
    for key in ('img_dir', 'ann_dir', 'train_ids_dir', 'split'):
        if dataset.get(key):
            # As a word: absolute paths may hold others, /evaluation or /home/valerie.
            dataset[key] = re.sub(r'(?<![a-z])val(?![a-z])', 'test', dataset[key])


def _folders(config):
    """The folders of images and labels that a config names."""
    root, found = config.get('data_root') or '', []
    for key in ('img_dir', 'train_ids_dir', 'ann_dir'):
        if config.get(key) is not None:
            folders = [osp.join(root, config[key])]
            if issubclass(DATASETS.get(config['type']) or object, ACDCDataset):
                folders = ACDCDataset.folders(*folders, config.get('conditions'))
            found += folders
    return found


def _set_of_name(cfg, name, own, of_sets):
    """A data set of the config's own, or of an evaluation config."""
    options = _options_of(name, of_sets)
    if name in own:
        return EvaluationSet(name, _put_over(own[name], options), file_of(cfg))
    known = [*filter(None, own), *known_names()]
    if name not in known:
        raise UserError(f'--on {name}: there is no such data set. Known: {", ".join(known)}.')
    base, _, condition = name.partition('/')
    file = osp.normpath(osp.join(_FOLDER, f'eval_{base}.py'))
    if condition:
        options = {'conditions': condition} | options
    config = _with_runs_transforms(cfg, _test_sets_of(file))
    return EvaluationSet(name, _put_over(config, options), osp.relpath(file))


def _options_of(name, of_sets):
    """The options of a data set: ``data.test.NAME.key``, or of the group that its name begins with.

    Those of the only one, '', are ``data.test.key``.
    """
    return {own: of_sets[key] for key, own in _prefixed(name, of_sets).items()}


def _prefixed(name, of_sets):
    """Keys of a data set's options, those of its group first, to what they are in its config."""
    groups = filter(None, [group_of(name), name])
    return {
        key: key.removeprefix(prefix)
        for prefix in [f'{_OF_TEST}{group}.' for group in groups] or [_OF_TEST]
        for key in of_sets
        if key.startswith(prefix)
    }


def _check_are_read(of_sets, names):
    read = {key for name in names for key in _prefixed(name, of_sets)}
    for key in of_sets:
        if key not in read:
            raise UserError(
                f'{key}: of several data sets an option has to name one, e.g. '
                f'{_OF_TEST}{names[0]}.data_root=DIR'
            )


def _test_sets_of(path):
    found = (read_file(path).get('data') or {}).get('test')
    if found is None:
        raise UserError(f'--data {path} has no data.test.')
    return found


def _with_runs_transforms(cfg, dataset):
    """A data set at its own scale, with the other transforms that the network is trained for."""
    pipeline = copy.deepcopy(first_named(cfg.data.test).pipeline)
    scales = [transform.img_scale for transform in dataset.pipeline if 'img_scale' in transform]
    for transform in pipeline:
        if 'img_scale' in transform and scales:
            transform.img_scale = scales[0]
    dataset.pipeline = pipeline
    return dataset


def _put_over(dataset, options):
    """Put options over a data set's config, with keys such as ``pipeline.1.img_scale``."""
    holder = Config({'dataset': dataset})
    try:
        holder.merge_from_dict({f'dataset.{key}': value for key, value in options.items()})
    except (KeyError, TypeError, AttributeError) as error:
        keys = ', '.join(options)
        raise UserError(f'--cfg-options for a data set of data.test, {keys}: {error}') from error
    restore_tuples(holder.dataset)
    return holder.dataset


def _fit_classes(cfg, dataset, said):
    """Choose of a data set's classes those that the network predicts, in its order."""
    names, (others, _) = class_list(first_named(cfg.data.test))[0], class_list(dataset)
    if names is None:
        return
    lacking = [name for name in names if name not in (others or names)]
    if lacking:
        raise UserError(
            f'{said} ({dataset.type}) lacks classes that the network predicts, e.g. {lacking[0]}: '
            'leave it out, or test a network of its classes.'
        )
    if names != others:
        dataset.classes = names
