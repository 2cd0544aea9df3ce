"""Weight files for the Mix Transformer: the names they use, and loading them.

Three formats are in circulation: the SegFormer authors' (our names, and a classifier `head`),
OpenMMLab's (the names of MMSegmentation's `MixVisionTransformer`) and Hugging Face's
(`nvidia/mit-b*`). A file that does not fit completely is refused; nothing is half-loaded.
"""

import logging
import re

import torch

from mmseg.utils.weight_address import local_file
from mmseg.utils.weight_file import read_weights, require_fit

# Prefixes with the stage counted from 0 there and from 1 here, then parts of the names.
OPENMMLAB_STAGES = {
    r'layers\.(\d)\.0\.': 'patch_embed{}.',
    r'layers\.(\d)\.1\.': 'block{}.',
    r'layers\.(\d)\.2\.': 'norm{}.',
}
OPENMMLAB_PARTS = {
    'projection.': 'proj.',
    'attn.attn.out_proj.': 'attn.proj.',
    'ffn.layers.0.': 'mlp.fc1.',
    'ffn.layers.1.': 'mlp.dwconv.dwconv.',
    'ffn.layers.4.': 'mlp.fc2.',
}
HUGGING_FACE_STAGES = {
    r'(?:segformer\.)?encoder\.patch_embeddings\.(\d)\.': 'patch_embed{}.',
    r'(?:segformer\.)?encoder\.block\.(\d)\.': 'block{}.',
    r'(?:segformer\.)?encoder\.layer_norm\.(\d)\.': 'norm{}.',
}
HUGGING_FACE_PARTS = {
    'layer_norm_1.': 'norm1.',
    'layer_norm_2.': 'norm2.',
    'layer_norm.': 'norm.',
    'attention.output.dense.': 'attn.proj.',
    'attention.self.': 'attn.',
    'attn.query.': 'attn.q.',
    'mlp.dense1.': 'mlp.fc1.',
    'mlp.dense2.': 'mlp.fc2.',
}


def load_mit_weights(encoder, path):
    """Loads a weight file of any of the three formats into an encoder, completely or not at all.

    Args:
        encoder: a `MixTransformer`.
        path: a local file or an address (see `weight_address`).

    Raises:
        UserError: the file is missing, unreadable, or its names or shapes are not the encoder's.
    """
    state = to_our_names(read_weights(local_file(path)))
    require_fit(type(encoder).__name__, encoder.state_dict(), state, path)
    encoder.load_state_dict(state)
    logging.getLogger('mmseg').info('%s: loaded %s', type(encoder).__name__, path)


def to_our_names(state):
    """Recognises the format of a {name: tensor} by its names and converts it to ours."""
    if any(name.startswith('layers.') for name in state):
        return from_openmmlab(state)
    if any(re.match(r'(segformer\.)?encoder\.', name) for name in state):
        return from_hugging_face(state)
    return from_segformer_authors(state)


def from_segformer_authors(state):
    """The SegFormer authors' files have our names; the ImageNet classifier is dropped."""
    return {name: value for name, value in state.items() if not name.startswith('head.')}


def from_openmmlab(state):
    """Converts from the names of MMSegmentation's `MixVisionTransformer`.

    Its query, key and value projections are one tensor, and its MLP's linear layers are
    1x1 convolutions.
    """
    converted = {}
    for old_name, value in state.items():
        name = _rename(old_name, OPENMMLAB_STAGES, OPENMMLAB_PARTS)
        if re.search(r'attn\.attn\.in_proj_(weight|bias)$', name):
            prefix, kind = name.split('attn.in_proj_')
            channels = len(value) // 3
            converted[f'{prefix}q.{kind}'] = value[:channels]
            converted[f'{prefix}kv.{kind}'] = value[channels:]
        elif re.search(r'mlp\.fc[12]\.weight$', name):
            converted[name] = value.flatten(1)
        else:
            converted[name] = value
    return converted


def from_hugging_face(state):
    """Converts from the names of Hugging Face's `SegformerModel`, with or without a classifier.

    Its key and value projections are two tensors.
    """
    converted = {
        _rename(name, HUGGING_FACE_STAGES, HUGGING_FACE_PARTS): value
        for name, value in state.items()
        if not name.startswith('classifier.')
    }
    for name in [name for name in converted if '.attn.key.' in name]:
        other = name.replace('.attn.key.', '.attn.value.')
        if other in converted:
            key_value = [converted.pop(name), converted.pop(other)]
            converted[name.replace('.attn.key.', '.attn.kv.')] = torch.cat(key_value)
    return converted


def _rename(name, stages, parts):
    """Unknown names come back as they are, so that the strict check reports them."""
    for pattern, prefix in stages.items():
        match = re.match(pattern, name)
        if match:
            rest = name[match.end() :]
            for old, new in parts.items():
                rest = rest.replace(old, new)
            return prefix.format(int(match[1]) + 1) + rest
    return name
