"""The names in OpenMMLab's and Hugging Face's weights for the Mix Transformer, translated to ours.

Ours are those of SegFormer's authors, whose files also have a classifier `head`.
"""

import re

import torch

# Patterns with ours, in this order. A group is a stage: counted from 0 there, from 1 here.
OPENMMLAB = {
    r'^layers\.(\d)\.0\.': 'patch_embed{}.',
    r'^layers\.(\d)\.1\.': 'block{}.',
    r'^layers\.(\d)\.2\.': 'norm{}.',
    r'\.projection\.': '.proj.',
    r'\.attn\.attn\.out_proj\.': '.attn.proj.',
    r'\.ffn\.layers\.0\.': '.mlp.fc1.',
    r'\.ffn\.layers\.1\.': '.mlp.dwconv.dwconv.',
    r'\.ffn\.layers\.4\.': '.mlp.fc2.',
}
HUGGING_FACE = {
    r'^(?:segformer\.)?encoder\.patch_embeddings\.(\d)\.': 'patch_embed{}.',
    r'^(?:segformer\.)?encoder\.block\.(\d)\.': 'block{}.',
    r'^(?:segformer\.)?encoder\.layer_norm\.(\d)\.': 'norm{}.',
    r'\.layer_norm_1\.': '.norm1.',
    r'\.layer_norm_2\.': '.norm2.',
    r'\.layer_norm\.': '.norm.',
    r'\.attention\.output\.dense\.': '.attn.proj.',
    r'\.attention\.self\.': '.attn.',
    r'\.attn\.query\.': '.attn.q.',
    r'\.mlp\.dense1\.': '.mlp.fc1.',
    r'\.mlp\.dense2\.': '.mlp.fc2.',
}


def to_our_names(state):
    """Recognize the format of a {name: tensor} by its names and convert it to ours."""
    if any(name.startswith('layers.') for name in state):
        return _from_openmmlab(state)
    if any(re.match(r'(segformer\.)?encoder\.', name) for name in state):
        return _from_hugging_face(state)
    return state


def _from_openmmlab(state):
    """Split query, key and value, one tensor there; their linear layers are 1x1 convolutions."""
    converted = {}
    for old_name, value in state.items():
        name = _rename(old_name, OPENMMLAB)
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


def _from_hugging_face(state):
    """Join key and value, two tensors in Hugging Face's `SegformerModel`."""
    converted = {_rename(name, HUGGING_FACE): value for name, value in state.items()}
    for name in [name for name in converted if '.attn.key.' in name]:
        other = name.replace('.attn.key.', '.attn.value.')
        if other in converted:
            key_value = torch.cat([converted.pop(name), converted.pop(other)])
            converted[name.replace('.attn.key.', '.attn.kv.')] = key_value
    return converted


def _rename(name, patterns):
    """Translate a name; an unknown one stays, so that the strict check reports it."""
    for pattern, ours in patterns.items():
        match = re.search(pattern, name)
        if match:
            ours = ours.format(*(int(stage) + 1 for stage in match.groups()))
            name = name[: match.start()] + ours + name[match.end() :]
    return name
