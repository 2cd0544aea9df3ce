"""The formats: each writes a graph as bytes and runs such bytes as their user would."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings

import torch

from mmseg.utils.user_error import UserError

INPUT, META = 'picture', 'meta'
_ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def check_installed(format_name):
    """Raise a :class:`UserError` with pip's command if a format's packages are not installed."""
    packages = _ONNX_PACKAGES if format_name == 'onnx' else ()
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f'--format onnx needs {", ".join(missing)}: python -m pip install {" ".join(missing)}'
        )


def export(graph, shape, meta, format_name):
    """Export a graph for pictures of one size, any number of them at once.

    Args:
        graph (PictureToLabels): In eval mode.
        shape (tuple[int, int]): Height and width.
        meta (dict): Strings, kept in the file (ONNX: metadata; torch: the extra file ``meta``).
        format_name (str): ``'onnx'`` or ``'torch'``.

    Returns:
        bytes: The file.

    Raises:
        UserError: The exporter cannot do something that the network does.
    """
    # From an example of one picture it would conclude that there is always one.
    example = torch.zeros(2, 3, *shape, dtype=torch.uint8)
    batch = {INPUT: {0: torch.export.Dim('batch')}}
    write = {'onnx': _onnx, 'torch': _torch}[format_name]
    with torch.no_grad(), _quiet():
        graph(example[:1])  # what we got wrong is no fault of an exporter
        try:
            program = torch.export.export(graph, (example,), dynamic_shapes=batch)
            _forget_files(program)
            return write(program, graph.output, meta)
        except Exception as error:  # the exporters' reasons have no common type
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f'{type(graph.segmentor.backbone).__name__} with '
                f'{type(graph.segmentor.decode_head).__name__} cannot be exported as '
                f'{format_name} by torch {torch.__version__}: {reason[0]}'
            ) from error


def _forget_files(program):
    """Take out which lines of which files of this machine the operations come from."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop('stack_trace', None)


def run(content, format_name, picture):
    """What an exported file makes of pictures.

    Args:
        content (bytes): What :func:`export` returned.
        picture (Tensor): (N, 3, H, W) uint8.

    Returns:
        tuple[Tensor, dict]: The output, and the meta that the file keeps.
    """
    if format_name == 'torch':
        extra = {META: ''}
        program = torch.export.load(io.BytesIO(content), extra_files=extra)
        with torch.no_grad():
            return program.module()(picture), json.loads(extra[META])
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    (output,) = session.run(None, {INPUT: picture.numpy()})
    return torch.from_numpy(output), session.get_modelmeta().custom_metadata_map


def _onnx(program, output, meta):
    import onnx

    exported = torch.onnx.export(
        program, (), dynamo=True, verbose=False, input_names=[INPUT], output_names=[output]
    )
    model = exported.model_proto  # a new one at each access
    onnx.helper.set_model_props(model, meta)
    return model.SerializeToString()


def _torch(program, output, meta):
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={META: json.dumps(meta)})
    return file.getvalue()


@contextlib.contextmanager
def _quiet():
    """Without the exporters' remarks on themselves; what they raise is kept."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
