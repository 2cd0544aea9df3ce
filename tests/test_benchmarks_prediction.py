"""The benchmark of predictions, at a tiny scale."""

import json

import pytest
import torch

from tools.benchmarks.prediction import measure_evaluation, measure_inference
from tools.benchmarks.timing import Clock

SIZE = (64, 128)


@pytest.fixture
def clock(one_thread, monkeypatch):
    monkeypatch.setattr('tools.benchmarks.timing.MATMUL_SIDE', 64)
    return Clock(torch.device('cpu'))


def test_inference_is_measured_against_mmsegmentation(clock):
    found = json.loads(json.dumps(measure_inference(clock, 2, 'mit_b0', SIZE)))
    assert found['ours']['rounds'] == found['mmsegmentation']['rounds'] == 2
    assert found['ours']['median_s'] > 0 and found['times_faster'] > 0
    assert found['equal_pixels'] == 1


def test_evaluation_is_measured_in_parts(clock):
    found = json.loads(json.dumps(measure_evaluation(clock, 2, 'mit_b0', SIZE)))
    parts = found['parts']
    assert set(parts) == {
        'loading', 'to the device', 'network', 'enlarging and argmax', 'counting'
    }  # fmt: skip
    assert all(part['ms'] > 0 for part in parts.values())
    assert sum(part['share'] for part in parts.values()) == pytest.approx(1)
    assert found['mmsegmentation_counting_ms'] > 0
