"""One network's test of one data set: its predictions, their files and their metrics."""

from tqdm import tqdm

from mmseg.datasets.file_errors import build_files
from mmseg.engine import evaluation
from mmseg.engine.calibration import ConfidenceCounts, confidence_metrics, reliability
from mmseg.engine.test_scales import scale_of
from mmseg.utils.collective import gather_over_ranks, get_dist_info, sum_over_ranks
from tools.evaluation_table import SetResult, label_size
from tools.prediction_files import PredictionFiles


class TestedSet:
    """A data set that a network is to be tested on.

    Args:
        args (argparse.Namespace): Of tools/test.py.
        cfg (mmcv.Config): Of the run.
        entry (EvaluationSet): The data set.
        network (str): ``'student'`` or ``'teacher'``.

    Attributes:
        areas (Tensor): What :func:`mmseg.engine.evaluation.sum_areas` gave, once it was tested.
    """

    __test__ = False  # it is no test of pytest's

    def __init__(self, args, cfg, entry, network):
        self.args, self.cfg, self.entry, self.network = args, cfg, entry, network
        self.dataset = build_files(entry.config, dict(test_mode=True))
        self.files = PredictionFiles(args, entry, self.dataset, cfg.model, network)
        self.areas = self.confidences = self.sizes = None

    def run(self, segmentor, device):
        """Predict this rank's images, write and count them; all ranks must call this."""
        args, dataset = self.args, self.dataset
        predictions = evaluation.predict_with_confidences(
            segmentor, dataset, device, **evaluation.loading(self.cfg, 'test'),
            with_gt=args.is_scored, with_confidences=args.is_scored or args.format == 'bravo',
        )  # fmt: skip
        rank, world_size = get_dist_info()
        # None: no progress bar without a terminal.
        bar = dict(total=-(-len(dataset) // world_size), unit='image', disable=rank > 0 or None)
        counts, confidences, sizes = [], ConfidenceCounts(), set()
        for index, label, gt, confidence in tqdm(predictions, self.entry.name, **bar):
            self.files.write(index, label, confidence, segmentor.PALETTE)
            sizes.add(label.shape)
            if args.is_scored:
                counts.append(evaluation.count_areas(dataset, label, gt, index))
                confidences.add(confidence, label, gt, dataset.ignore_index)
        self.areas = evaluation.sum_areas(dataset, counts)  # waits for all ranks
        self.confidences = sum_over_ranks(confidences.counts)
        self.sizes = set().union(*gather_over_ranks(sizes))

    def metrics(self, logger):
        """Compute all metrics, and print MMSegmentation's: a dict of floats in [0, 1]."""
        found = evaluation.evaluate(
            self.dataset, self.areas, logger, self.args.eval, evaluation.is_from_synthia(self.cfg)
        )
        found['fwIoU'] = evaluation.frequency_weighted_iou(self.areas)
        return found | confidence_metrics(self.confidences)

    def result(self):
        """What the tables say of this data set, without metrics."""
        config = self.entry.config
        return SetResult(
            self.entry.title, config.type, config.get('data_root'), scale_of(config.pipeline),
            len(self.dataset), label_size(self.sizes), getattr(self.dataset, 'label_table', None),
        )  # fmt: skip

    def reliability(self):
        """The reliability diagram: a dict of lists, of 15 bins each."""
        names = ('pixels', 'confidence', 'accuracy')
        return {
            name: values.tolist()
            for name, values in zip(names, reliability(self.confidences), strict=True)
        }
