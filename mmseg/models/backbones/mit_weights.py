"""The names in weight files for the Mix Transformer, translated to ours.

Three formats are in circulation: the SegFormer authors' (our names, and a classifier `head`),
OpenMMLab's (the names of MMSegmentation's `MixVisionTransformer`) and Hugging Face's
(`nvidia/mit-b*`).
"""

import re

import torch

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


def _from_hugging_face(state):
    """Join key and value, two tensors in Hugging Face's `SegformerModel`."""
    converted = {
        _rename(name, HUGGING_FACE_STAGES, HUGGING_FACE_PARTS): value
        for name, value in state.items()
    }
    for name in [name for name in converted if '.attn.key.' in name]:
        other = name.replace('.attn.key.', '.attn.value.')
        if other in converted:
            key_value = [converted.pop(name), converted.pop(other)]
            converted[name.replace('.attn.key.', '.attn.kv.')] = torch.cat(key_value)
    return converted


def _rename(name, stages, parts):
    """Translate a name; an unknown one stays, so that the strict check reports it."""
    for pattern, prefix in stages.items():
        match = re.match(pattern, name)
        if match:
            rest = name[match.end() :]
            for old, new in parts.items():
                rest = rest.replace(old, new)
            return prefix.format(int(match[1]) + 1) + rest
    return name
