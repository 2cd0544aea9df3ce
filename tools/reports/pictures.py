"""Choosing pictures, scaling them, and embedding them as JPEG, so that a page stays small."""

import base64
import io

from PIL import Image

_WIDTH = 1400
# Of a picture and of a panel: with this a page of everything has at most 6 MB.
_MOST_BYTES, _MOST_BYTES_OF_PANEL = 180_000, 60_000
_QUALITIES = (85, 60, 30)
_PANELS = 4  # of a sample: image, truth, prediction, error
_TRUTH, _PREDICTION = 1, 2
_MIXES_PER_ITERATION = 2


def first_middle_last(values):
    """At most three of a sequence, evenly spaced."""
    values = list(values)
    return [values[i] for i in sorted({0, len(values) // 2, len(values) - 1})] if values else []


def last_samples(samples):
    """Embed the sample predictions of the last evaluation.

    Args:
        samples (dict): Iteration to {number: path}, see records.sample_pictures.

    Returns:
        tuple[int, list[dict]]: Its iteration, and pictures (see :func:`embedded`); (0, []) if there
        are none.
    """
    if not samples:
        return 0, []
    iteration = max(samples)
    return iteration, [embedded(path) for path in samples[iteration].values()]


def development(samples):
    """Embed how the predictions of the same images developed.

    Returns:
        tuple[list[int], list[list[dict]]]: Up to three iterations; per image their predictions and
        the truth. Empty if there was a single evaluation.
    """
    iterations = first_middle_last(samples)
    if len(iterations) < 2:
        return [], []
    numbers = set.intersection(*(set(samples[iteration]) for iteration in iterations))
    rows = []
    for number in sorted(numbers):
        paths = [samples[iteration][number] for iteration in iterations]
        row = [embedded(path, _PREDICTION) for path in paths]
        rows.append([*row, embedded(paths[-1], _TRUTH)])
    return iterations, rows


def side_by_side(samples_of_runs):
    """Embed what several runs predict for the same images at their last evaluations.

    Args:
        samples_of_runs (list[dict]): Per run, as for :func:`last_samples`, none of them empty.

    Returns:
        list[list[dict]]: Per image the prediction of each run, and the truth.
    """
    last = [samples[max(samples)] for samples in samples_of_runs]
    return [
        [
            *(embedded(paths[number], _PREDICTION) for paths in last),
            embedded(last[0][number], _TRUTH),
        ]
        for number in sorted(set.intersection(*map(set, last)))
    ]


def mixes(pictures):
    """Embed a few class-mix pictures: of the first, the middle and the last iteration.

    Returns:
        tuple[list[tuple[int, list[dict]]], int]: (iteration, pictures) pairs, and how many pictures
        were left out.
    """
    chosen = {
        iteration: list(pictures[iteration].values())[:_MIXES_PER_ITERATION]
        for iteration in first_middle_last(pictures)
    }
    left_out = sum(map(len, pictures.values())) - sum(map(len, chosen.values()))
    return [
        (iteration, list(map(embedded, paths))) for iteration, paths in chosen.items()
    ], left_out


def embedded(path, panel=None):
    """A picture as a data URL of at most 240 kB, a panel of 80.

    Args:
        path (str): The file.
        panel (int | None): Of a sample's panels, which are equally wide; None: all of it.

    Returns:
        dict: ``url``, ``width`` and ``height``; or ``problem``, a sentence, if it cannot be read: a
        run that goes on may be writing it.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert('RGB')
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: of a broken PNG
        return dict(
            problem=f'{path} cannot be read ({error}). A run that goes on may be writing it.'
        )
    limit = _MOST_BYTES if panel is None else _MOST_BYTES_OF_PANEL
    if panel is not None:
        width = picture.width / _PANELS
        picture = picture.crop(
            (round(panel * width), 0, round((panel + 1) * width), picture.height)
        )
    if picture.width > _WIDTH:
        picture = picture.resize((_WIDTH, max(1, round(picture.height * _WIDTH / picture.width))))
    data = base64.b64encode(_jpeg(picture, limit)).decode()
    return dict(url=f'data:image/jpeg;base64,{data}', width=picture.width, height=picture.height)


def _jpeg(picture, limit):
    """Coarser, then smaller, until it is small enough."""
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            # Without subsampling the edges of labels keep their colours.
            picture.save(file, 'JPEG', quality=quality, subsampling=0)
            if file.tell() <= limit:
                return file.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
