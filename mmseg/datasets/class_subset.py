"""Some of a data set's classes: ``classes=[...]`` on a data set that has a class list of its own.

MMSegmentation then renumbers: its ``label_map`` goes from the train ids of the files to those of
the chosen classes, and to -1 for all others, which a label of bytes cannot hold.
"""


def ignore_others(dataset):
    """Let a data set ignore the classes that were not chosen.

    Args:
        dataset (CustomDataset): Is changed and returned.
    """
    if dataset.label_map:
        dataset.label_map = {
            old: dataset.ignore_index if new < 0 else new for old, new in dataset.label_map.items()
        }
    return dataset


def renumbered(pixels, label_map):
    """Counts by train id, of the files, as counts by train id of the chosen classes.

    Args:
        pixels (dict[int, int]): Pixels of each class.
        label_map (dict[int, int] | None): Of the data set; None keeps them.
    """
    if not label_map:
        return pixels
    chosen = {old: new for old, new in label_map.items() if 0 <= new < 255}
    return {chosen[old]: count for old, count in pixels.items() if old in chosen}
