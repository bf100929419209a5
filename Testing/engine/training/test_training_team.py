"""Where a process of a training computes."""

import accelerate
import torch
from vcm.training.trainer.team import Team


def test_a_process_computes_where_it_was_told_to_whatever_its_first_training_was_told(monkeypatch):
    # Accelerate keeps one state a process: the first team's device.
    monkeypatch.setattr(accelerate.Accelerator, "device", property(lambda self: torch.device("meta")))
    assert Team("cpu").device == torch.device("cpu")
    assert Team().device == torch.device("meta")
