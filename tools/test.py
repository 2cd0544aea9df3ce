"""Test a checkpoint on its target, or on many data sets: ``python tools/test.py``; see test.sh."""

import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from mmseg.engine import evaluation
from mmseg.engine.checkpoint import holds_teacher
from mmseg.engine.checks.config import check_windows
from mmseg.engine.distributed import init_distributed, main_process_first
from mmseg.engine.performance import keep_freed_memory
from mmseg.engine.test_scales import average_scales, mode_of, set_scale
from mmseg.engine.trained import load_trained
from mmseg.models.encoder_channels import last_head
from mmseg.utils.collective import gather_over_ranks, get_dist_info
from mmseg.utils.user_error import FileError, UserError, reports_user_errors
from tools.evaluation_sets import (
    absence_of,
    check_alone,
    chosen_sets,
    problem_of,
    use_test_split,
)
from tools.evaluation_table import (
    NETWORKS,
    TestResults,
    results_lines,
    results_table,
    write_results,
)
from tools.runs import short_revision
from tools.test_options import parse_args
from tools.tested_set import TestedSet

HRDA_OUTPUTS = {
    'LR': dict(fixed_attention=0.0),
    'HR': dict(fixed_attention=1.0),
    'ATT': dict(debug_output_attention=True),
}
AUG_TEST_RATIOS = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@reports_user_errors
def main(argv=None):
    """Test; returns the metrics, those of several data sets by name and network.

    None with ``--format-only``, ``--format`` and ``--hrda-out ATT``.
    """
    args = parse_args(argv)
    with init_distributed(args.device) as device:
        keep_freed_memory(device)
        return _test(args, device)


def _test(args, device):
    cfg, sets = chosen_sets(args)
    _check_is_replaceable(args.confusion)
    _prepare(args, cfg, sets)
    is_alone = len(sets) == 1 and not args.on
    results = TestResults(args.checkpoint, None, mode_of(cfg.model.test_cfg), short_revision())
    if is_alone:
        with main_process_first() as is_rank_0:
            if is_rank_0:
                check_alone(sets[0], needs_labels=args.is_scored)
    else:
        sets = _those_there(args, cfg, sets, results)
    tests = []
    for network in _networks(args, is_alone):
        of_network = [TestedSet(args, cfg, entry, network) for entry in sets]
        segmentor = load_trained(cfg, args.checkpoint, device, network)
        results.iteration = segmentor.iteration
        with main_process_first() as is_rank_0:
            for test in of_network if is_rank_0 else ():
                test.files.check_are_free()
        for test in of_network:
            is_broken = test.entry.title in results.broken
            if not is_broken and _has_run(test, segmentor, device, results):
                tests.append(test)
                if args.is_scored and not is_alone:  # a test of many sets may be stopped
                    found = test.metrics('silent')['mIoU']
                    _say(f'{test.entry.title}, {network}: mIoU {100 * found:.2f}')
        del segmentor  # before the next one
    tests = [test for test in tests if test.entry.title not in results.broken]
    found = _report(args, tests, results, is_alone) if args.is_scored and tests else None
    if results.broken:
        raise UserError(f'not tested, as said above: {", ".join(results.broken)}.')
    return found


def _prepare(args, cfg, sets):
    """Put what the options say into the configs of the network and of the data sets."""
    if args.inference_mode != 'same':
        test_cfg = _test_cfg(cfg, args.inference_mode)
        cfg.merge_from_dict({'model.test_cfg': dict(_delete_=True, **test_cfg)})
    if args.hrda_out:
        if 'single_scale_head' not in cfg.model.decode_head:  # under whichever of its names
            raise UserError('--hrda-out is for networks with an HRDAHead.')
        cfg.model.decode_head.update(HRDA_OUTPUTS[args.hrda_out])
    check_windows(cfg.model.get('test_cfg'))
    for entry in sets:
        if args.test_set:
            use_test_split(entry.config)
        if args.test_scale:
            set_scale(entry.config.pipeline, args.test_scale)
        if args.aug_test:
            average_scales(entry.config.pipeline, AUG_TEST_RATIOS)


def _those_there(args, cfg, sets, results):
    """Return the data sets that can be tested; name those that are not there or broken."""
    num_classes, there = last_head(cfg.model)['num_classes'], []
    for entry in sets:
        absence = absence_of(entry)
        with main_process_first() as is_rank_0:
            problem = None
            if is_rank_0 and absence is None:
                problem = problem_of(entry, num_classes, needs_labels=args.is_scored)
        problem = gather_over_ranks(problem)[0]
        if absence is not None:
            results.absent[entry.title] = absence
            _say(f'{entry.title} is skipped: {absence}')
        elif problem is not None:
            _mark_broken(results, entry, problem)
        else:
            there.append(entry)
    if len(results.absent) == len(sets):
        raise UserError(f'none of the data sets is there: {next(iter(results.absent.values()))}')
    return there


def _networks(args, is_alone):
    """Both networks for a table alone: files are of one."""
    if args.weights:
        return [args.weights]
    of_one = is_alone or args.show_dir or args.confusion or not args.is_scored
    return ['student'] if of_one or not holds_teacher(args.checkpoint) else NETWORKS


def _has_run(test, segmentor, device, results):
    """Predict a data set; one of several that turns out to be broken keeps none from its test."""
    try:
        test.run(segmentor, device)
    except FileError as error:
        # Other ranks would wait for this one.
        if not test.entry.name or get_dist_info()[1] > 1:
            raise
        _mark_broken(results, test.entry, str(error))
        return False
    for folder in test.files.folders.values():
        _say(f'Predictions are in {folder.folder}')
    return True


def _report(args, tests, results, is_alone):
    """Compute, print and write the metrics of all tests; returns them."""
    is_rank_0 = get_dist_info()[0] == 0
    for test in tests:
        entry = results.of(test)
        entry.metrics[test.network] = test.metrics(None if is_rank_0 and is_alone else 'silent')
        entry.reliability[test.network] = test.reliability()
    if is_rank_0:
        print(results_lines(results) if is_alone else results_table(results))
        print(results.said())
        write_results(args, results)
        if args.confusion:
            datasets = {test.entry.name: test.dataset for test in tests}
            areas = {test.entry.name: test.areas for test in tests}
            iteration, tested = results.iteration, results.how()
            evaluation.write_confusion(args.confusion, datasets, areas, iteration, tested=tested)
    if not is_alone:
        return {entry.name: entry.metrics for entry in results.sets}
    ((found,),) = (entry.metrics.values() for entry in results.sets)
    return found


def _mark_broken(results, entry, problem):
    results.broken[entry.title] = problem
    _say(f'{entry.title} is broken: {problem}')


def _say(text):
    if get_dist_info()[0] == 0:
        print(text)


def _check_is_replaceable(path):
    if path and osp.isfile(path):
        with open(path, 'rb') as file:
            if b'"confusion"' not in file.read():
                raise UserError(f'--confusion would replace {path}: choose another name.')


def _test_cfg(cfg, mode):
    if mode == 'whole':
        return dict(mode='whole')
    size = cfg.data.train.get('sync_crop_size') or cfg.get('crop_size')
    if size is None:
        raise UserError('--inference-mode slide: the config names no crop_size; state it.')
    stride = [side // 2 for side in size]
    return dict(mode='slide', crop_size=size, stride=stride, batched_slide=True)


if __name__ == '__main__':
    main()
