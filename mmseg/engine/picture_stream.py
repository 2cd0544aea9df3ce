"""Predicting pictures one after the other, while the next ones are read and prepared."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from mmseg.datasets.run_loader import to_device
from mmseg.datasets.test_samples import collate_equal
from mmseg.engine.inference import predict_labels, predict_with_confidence
from mmseg.engine.picture_pipeline import PicturePipeline
from mmseg.utils.background import made_ahead
from mmseg.utils.user_error import UserError


class Predicted(NamedTuple):
    """A picture and what was predicted of it, or why it could not be read.

    Args:
        name: of the picture.
        picture: (H, W, 3) BGR uint8.
        label: train ids (H, W) uint8.
        confidence: their probabilities (H, W) float32, if asked for.
        error: where there is one, the rest is None.
    """

    name: str
    picture: np.ndarray | None = None
    label: np.ndarray | None = None
    confidence: np.ndarray | None = None
    error: UserError | None = None


def predict_pictures(
    segmentor,
    pictures: Iterable[tuple[str, np.ndarray | UserError]],
    batch_size: int = 1,
    with_confidence: bool = False,
) -> Iterator[Predicted]:
    """Predict pictures of any size.

    Several at once change the logits in the last bits, so a pixel between two classes may change
    here and there.

    Args:
        segmentor (EncoderDecoder): In eval mode, with its config as ``cfg``.
        pictures: Names and pictures (H, W, 3) BGR uint8; a mistake stands for one that cannot be
            read. Iterated in a thread.
        batch_size: So many are predicted at once, at most; only neighbours of equal size are.
        with_confidence: Compute probabilities, too.

    Yields:
        Predicted: In the order of the pictures; of a batch those that cannot be read come first.
    """
    device = next(segmentor.parameters()).device
    batches = _batches(pictures, PicturePipeline(segmentor.cfg), batch_size)
    with made_ahead(batches) as ready:
        for failed, batch in ready:
            yield from failed
            if batch is None:
                continue
            inputs = segmentor, to_device(batch['img'], device), batch['img_metas']
            if with_confidence:
                labels, confidences = predict_with_confidence(*inputs)
            else:
                labels, confidences = predict_labels(*inputs), [None] * len(batch['name'])
            for name, picture, label, confidence in zip(
                batch['name'], batch['picture'], labels, confidences, strict=True
            ):
                height, width = picture.shape[:2]
                if confidence is not None:
                    confidence = confidence[:height, :width]
                yield Predicted(name, picture, label[:height, :width], confidence)


def _batches(pictures, pipeline, batch_size):
    """What could not be read, and a batch of equal size or None, again and again."""
    pictures = iter(pictures)
    while group := list(islice(pictures, batch_size)):
        failed = [
            Predicted(name, error=picture)
            for name, picture in group
            if isinstance(picture, UserError)
        ]
        samples = [
            dict(pipeline(picture, name), name=name, picture=picture)
            for name, picture in group
            if not isinstance(picture, UserError)
        ]
        batches = collate_equal(samples)
        yield failed, batches[0] if batches else None
        for batch in batches[1:]:
            yield [], batch
