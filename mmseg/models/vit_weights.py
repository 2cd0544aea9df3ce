"""Weight files of plain ViTs, from the names that their publishers use to timm's.

Read are timm's own files, Meta's (DINOv2, DINOv3), those of Hugging Face's transformers, and
checkpoints of VFM-UDA. timm's filter resamples patches and positions.
"""

import re

import timm
import torch
from timm.models import eva, vision_transformer

from mmseg.utils.user_error import UserError

# Names of transformers in its files and, from version 5 on, in memory, to Meta's.
HUGGING_FACE = (
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.patch_embeddings\.(?:projection\.)?', 'patch_embed.proj.'),
    (r'^embeddings\.', ''),
    (r'^(?:encoder\.|model\.)?layer\.', 'blocks.'),
    (r'^layernorm\.', 'norm.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.attention\.(?:attention\.)?([qkv])(?:uery|ey|alue|_proj)\.', r'.attn.\1.'),
    (r'\.attention\.(?:output\.dense|o_proj)\.', '.attn.proj.'),
    (r'\.mlp\.weights_in\.', '.mlp.w12.'),
    (r'\.mlp\.weights_out\.', '.mlp.w3.'),
)
GATED = ((r'\.gate_proj\.', '.w1.'), (r'\.up_proj\.', '.w2.'), (r'\.down_proj\.', '.w3.'))
PLAIN = ((r'\.up_proj\.', '.fc1.'), (r'\.down_proj\.', '.fc2.'))
QUERY_BIASES = ('.attn.qkv.bias', '.attn.q_bias', '.attn.q_proj.bias')
VALUE_BIASES = ('.attn.v_bias', '.attn.v_proj.bias')
STUDENT = 'network.encoder.'  # of VFM-UDA; its teacher is network_ema


def to_timm(weights, whole, model_name):
    """Translate the names of a file and fit patches and positions to a model.

    Args:
        weights (dict[str, Tensor]): Left as it is.
        whole (nn.Module): The complete timm model; its tensors may be on the meta device.

    Returns:
        dict[str, Tensor]: Under timm's names, without a mask token.

    Raises:
        UserError: The model lacks biases that the file has, or is another one.
    """
    if any(name.startswith(STUDENT) for name in weights):
        weights = {n[len(STUDENT) :]: v for n, v in weights.items() if n.startswith(STUDENT)}
    if any(name.startswith('embeddings.') for name in weights):
        weights = _from_hugging_face(weights)
    weights = {n: v for n, v in weights.items() if not n.startswith('cls_norm.')}  # of 7B
    if 'register_tokens' in weights or 'blocks.0.mlp.w12.weight' in weights:
        weights.setdefault('mask_token', None)  # by which timm recognises Meta's DINOv2
    family = vision_transformer
    if isinstance(whole, eva.Eva):
        family = eva
        weights = _without_zero_biases(weights, whole, model_name)
    try:
        return family.checkpoint_filter_fn(weights, whole)
    except RuntimeError as error:  # where patches or positions cannot be resampled
        raise UserError(f'the weight file is not of {model_name}: {error}') from error


def mask_token_of(weights):
    """Return the mask token (1, D) of a file, None where it has none."""
    for name in ('mask_token', f'{STUDENT}mask_token', 'embeddings.mask_token'):
        if name in weights:
            return weights[name].flatten()[None]
    return None


def _from_hugging_face(weights):
    """Translate to Meta's names: of DINOv2 with positions, of DINOv3 without."""
    is_dinov2 = 'embeddings.position_embeddings' in weights
    is_gated = any('.gate_proj.' in name for name in weights)
    rules = HUGGING_FACE + (GATED if is_gated else PLAIN)
    weights = {_renamed(name, rules): value for name, value in weights.items()}
    if is_dinov2:
        if is_gated:
            weights = _joined(weights, ('w1', 'w2'), 'w12')
    else:
        weights = {_renamed(n, ((r'^register_', 'storage_'),)): v for n, v in weights.items()}
        for name in [name for name in weights if name.endswith('.attn.q.bias')]:
            weights.setdefault(name.replace('.q.', '.k.'), torch.zeros_like(weights[name]))
    return _joined(weights, ('q', 'k', 'v'), 'qkv')


def _renamed(name, rules):
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _joined(weights, parts, whole):
    """Stack the rows of layers that the file keeps apart, where none of them is missing."""
    joined = dict(weights)
    for name in weights:
        match = re.fullmatch(rf'(.*\.){parts[0]}(\.weight|\.bias)', name)
        names = [f'{match[1]}{part}{match[2]}' for part in parts] if match else [None]
        if all(each in weights for each in names):
            joined[f'{match[1]}{whole}{match[2]}'] = torch.cat([joined.pop(n) for n in names])
    return joined


def _without_zero_biases(weights, whole, model_name):
    """Drop zero biases of q and v for a model without them: timm would drop any, silently."""
    if any(name.endswith(QUERY_BIASES) for name in whole.state_dict()):
        return weights
    biases = {n: v for n, v in weights.items() if n.endswith(QUERY_BIASES + VALUE_BIASES)}
    for name, bias in biases.items():
        # The third of k is masked by Meta's code, whatever the file holds.
        used = bias.chunk(3)[::2] if name.endswith('qkv.bias') else [bias]
        if any(part.any() for part in used):
            other = f'{model_name.partition(".")[0]}_qkvb'
            mend = f'model_name={other!r}' if timm.is_model(other) else 'a model_name with biases'
            raise UserError(
                f'{name} of the weight file is not zero, and {model_name} has no biases of q and '
                f'v: set model.backbone.{mend}'
            )
    return {name: value for name, value in weights.items() if name not in biases}
