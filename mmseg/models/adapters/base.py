"""The option `adapt` of encoders: an adapter is added, and everything else is frozen."""

import re

from mmcv.cnn import initialize
from mmcv.runner import BaseModule
from mmcv.utils import Registry

from mmseg.utils.user_error import UserError

ADAPTERS = Registry('adapter')
_WEIGHTS = re.compile(r'(^|\.)(lora_[AB]|rein)\.')


def is_of_adapter(name):
    """Whether a name in an encoder's state dict is of an adapter."""
    return _WEIGHTS.search(name) is not None


class Adapter:
    """A way to adapt an encoder, registered in ``ADAPTERS``; its fields are its options."""

    def install(self, encoder):
        """Add trainable weights to a frozen encoder, in place."""
        raise NotImplementedError

    def modules(self, encoder):
        """List the modules with these weights, which follow the mode of training."""
        raise NotImplementedError

    def start(self, encoder):
        """Derive these weights from those that the encoder has loaded."""

    def merge(self, encoder):
        """Put these weights into the encoder's own and remove them."""
        raise UserError(f'{type(self).__name__} cannot be merged: publish without --merge')


class AdaptedEncoder(BaseModule):
    """An encoder that can have an adapter; its constructor calls :meth:`adapt` last."""

    adapter = None

    def adapt(self, cfg):
        """Freeze all weights and add the adapter of a config; None changes nothing."""
        if cfg is not None:
            self.requires_grad_(False)
            self.adapter = ADAPTERS.build(cfg)
            self.adapter.install(self)

    def train(self, mode=True):
        """Set the mode of the encoder and of its adapter; what is frozen stays in eval mode."""
        super().train(mode)
        if self.adapter is not None:
            for child in self.children():
                child.eval()
            for module in self.adapter.modules(self):
                module.train(mode)
        return self

    def init_weights(self):
        """Load the weight file if there is one; the adapter starts from its weights, once."""
        if self.adapter is not None and self._is_init:
            return
        if self.init_cfg:
            initialize(self, self.init_cfg)
        if self.adapter is not None:
            self.adapter.start(self)
        self._is_init = True

    def adapter_weights(self):
        """Return the adapter's part of the state dict, which is in no file of the encoder alone."""
        return {name: value for name, value in self.state_dict().items() if is_of_adapter(name)}

    def merge_adapter(self):
        """Put the adapter into the encoder's own weights; the encoder is a plain one then."""
        self.adapter.merge(self)
        self.adapter = None
