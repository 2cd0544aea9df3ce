"""What a training step keeps in memory for weights and optimizer: computed, nothing allocated."""

import torch

from mmseg.engine.optimizer import build_grouped_optimizer


def networks_of(model):
    """The networks of what is trained.

    Returns:
        A dict of name → dict with `parameters` and `bytes`, of parameters and buffers.
    """
    names = {'model': 'student', 'ema_model': 'teacher', 'imnet_model': 'frozen encoder'}
    networks = {names.get(name, name): network for name, network in model.named_children()}
    return {
        name: dict(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            bytes=_size((*network.parameters(), *network.buffers())),
        )
        for name, network in networks.items()
    }


def training_memory(model, optimizer_cfg):
    """Bytes beside the networks: a dict of name → bytes; without activations.

    The optimizer takes a step on the meta device, so this holds for any optimizer.

    Args:
        model (nn.Module): what is trained, on the meta device.
        optimizer_cfg (dict | None): None: the config does not train.
    """
    if optimizer_cfg is None:
        return {}
    model.train()
    student = model.model
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    # Fused, the state is the same, but there is no such step on the meta device.
    options = {key: value for key, value in optimizer_cfg.items() if key != 'fused'}
    optimizer = build_grouped_optimizer(student, options)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    memory = {
        'gradients': _size(trained),
        f'state of {type(optimizer).__name__}': _size(v for v in state if torch.is_tensor(v)),
    }
    optimizer.zero_grad()
    return memory


def _size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
