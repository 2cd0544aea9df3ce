"""Which curves of training a report shows: losses, learning rate, mIoU, pseudo-label weight."""

from tools.reports.curves import Curve, draw_chart

_TITLES = {
    'decode.loss_ce': 'Source: cross entropy',
    'decode.loss_seg': 'Source: cross entropy',
    'mix.decode.loss_ce': 'Mixed images: cross entropy',
    'mix.decode.loss_seg': 'Mixed images: cross entropy',
    'src.loss_imnet_feat_dist': 'Feature distance to ImageNet',
}
_MOST_MARKS = 40


def loss_charts(runs):
    """A chart per loss of any of the runs."""
    keys = list(dict.fromkeys(key for run in runs for entry in run.train for key in entry))
    losses = [key for key in keys if 'loss' in key.rsplit('.', 1)[-1]]
    # Their sum, which some methods log, too, says nothing more.
    losses = [key for key in losses if key != 'loss'] or losses
    charts = [
        draw_chart(_TITLES.get(key, key), key, 'loss', _curves(runs, key, smooth=True))
        for key in losses
    ]
    return [chart for chart in charts if chart]


def learning_rate_chart(runs):
    """None if no run has logged anything."""
    return draw_chart('Learning rate', 'lr', '', _curves(runs, 'lr'))


def pseudo_weight_chart(runs):
    """None if no run has logged the weight."""
    key = 'pseudo_label_weight'
    curves = _curves(runs, key, smooth=True)
    return draw_chart('Weight of the pseudo-labels', key, 'weight', curves, 720, 270)


def miou_chart(runs, reference=None):
    """mIoU over iterations; that of ``reference``, a run or None, is held up to the end."""
    curves = [
        Curve(
            number,
            run.letter,
            [entry['iter'] for entry in run.val],
            [100 * entry.get('mIoU', float('nan')) for entry in run.val],
            marks=len(run.val) <= _MOST_MARKS,
            hold=run is reference,
        )
        for number, run in enumerate(runs)
        if run.val
    ]
    return draw_chart('mIoU on the target', 'mIoU', 'mIoU (%)', curves, 720, 300)


def _curves(runs, key, smooth=False):
    curves = []
    for number, run in enumerate(runs):
        entries = [entry for entry in run.train if isinstance(entry.get(key), int | float)]
        if entries:
            x, y = [entry['iter'] for entry in entries], [entry[key] for entry in entries]
            curves.append(Curve(number, run.letter, x, y, smooth))
    return curves
