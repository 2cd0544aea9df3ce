"""The PNGs that tools/test.py writes of its predictions: coloured ones, and those for servers."""

import os.path as osp

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.file_errors import read_image
from mmseg.engine.calibration import quantized
from mmseg.engine.config import parse_options
from mmseg.engine.logs import file_part
from mmseg.engine.predictions import (
    PredictionFolder,
    write_confidence,
    write_id_map,
    write_image,
)
from mmseg.utils.drawing import paint
from mmseg.utils.user_error import UserError

# Whose servers take train ids; Cityscapes' takes label ids.
TAKES_TRAIN_IDS = ('ACDCDataset', 'DarkZurichDataset')
_SHOWN, _SENT = '--show-dir', '--eval-options imgfile_prefix=FOLDER'


class PredictionFiles:
    """The files of one network's predictions of one data set, as the options say.

    Args:
        args (argparse.Namespace): Of tools/test.py.
        entry (EvaluationSet): With a name, its files go to folders below the options' ones.
        model (dict): The network's config.
    """

    def __init__(self, args, entry, dataset, model, network):
        self.args, self.dataset, self._name = args, dataset, entry.name
        self._made_of = dict(data=entry.config, model=model, weights=network, aug=args.aug_test)
        self.folders, self._to_label_id = {}, False
        if args.show_dir:
            self.folders[_SHOWN] = self._folder(args.show_dir, self._names())
        if args.format == 'bravo':
            names = [f'{stem}_{kind}.png' for stem in self._stems() for kind in ('pred', 'conf')]
            self.folders[_SENT] = self._folder(self._sent_to('bravo'), names, format=args.format)
        elif args.format_only:
            self._to_label_id, path = self._label_ids(entry.config.type)
            self.folders[_SENT] = self._folder(
                path, self._names(), False, to_label_id=self._to_label_id
            )

    def check_are_free(self):
        """Refuse to mix with what another command wrote."""
        for option, folder in self.folders.items():
            folder.check_is_free(option)

    def write(self, index, label, confidence, palette):
        """Write what is asked for of an image: train ids (H, W) uint8 and their probabilities."""
        name = self.dataset.img_infos[index]['filename']
        shown, sent = self.folders.get(_SHOWN), self.folders.get(_SENT)
        if shown is not None:
            opacity, is_grey = self.args.opacity, self.args.hrda_out == 'ATT'
            path = osp.join(self.dataset.img_dir, name)
            image = read_image(path, self.dataset.load_image) if opacity < 1 else None
            painted = label if is_grey else paint(label, palette, image, opacity)
            write_image(painted, shown.paths[name], shown.origin)
        if self.args.format == 'bravo':
            stem = osp.splitext(name)[0]
            write_id_map(label, sent.paths[f'{stem}_pred.png'], False, palette, sent.origin)
            levels = quantized(confidence).cpu().numpy().astype('uint16')
            write_confidence(levels, sent.paths[f'{stem}_conf.png'], sent.origin)
        elif sent is not None:
            write_id_map(label, sent.paths[name], self._to_label_id, palette, sent.origin)

    def _names(self):
        return [info['filename'] for info in self.dataset.img_infos]

    def _stems(self):
        return [osp.splitext(name)[0] for name in self._names()]

    def _folder(self, path, names, keep_folders=True, **made_of):
        """A folder of PNGs that only this command's may be in."""
        if self._name:
            path = osp.join(path, file_part(self._name))
        # Relative, so that a run may be moved with its predictions.
        made_of |= self._made_of | dict(checkpoint=osp.relpath(self.args.checkpoint, path))
        return PredictionFolder(path, names, made_of, keep_folders)

    def _sent_to(self, default):
        """The folder of files for a server."""
        options = parse_options(self.args.eval_options, '--eval-options')
        known = {'imgfile_prefix'} if self.args.format else {'imgfile_prefix', 'to_label_id'}
        unknown = set(options) - known
        if unknown:
            raise UserError(f'--eval-options has no {", ".join(sorted(unknown))} here.')
        path = options.get('imgfile_prefix', osp.join(osp.dirname(self.args.checkpoint), default))
        if self.args.show_dir and osp.realpath(path) == osp.realpath(self.args.show_dir):
            shown = self.args.show_dir
            raise UserError(f'--show-dir {shown} is where the files for the server go.')
        return path

    def _label_ids(self, kind):
        """Whether a server takes label ids, and the folder for them."""
        options = parse_options(self.args.eval_options, '--eval-options')
        has_label_ids = tuple(self.dataset.CLASSES) == CityscapesDataset.CLASSES
        default = has_label_ids and kind not in TAKES_TRAIN_IDS
        to_label_id = options.get('to_label_id', default)
        if to_label_id and not has_label_ids:
            raise UserError(
                "to_label_id=True is for all of Cityscapes' classes in their order alone."
            )
        return to_label_id, self._sent_to('labelIds' if to_label_id else 'labelTrainIds')
