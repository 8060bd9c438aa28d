"""Stands in for torchvision whose compiled part does not load: it registers meta kernels for ops nobody declared.

As torchvision/_meta_registrations.py does. Of the rest there is what timm imports and what roofline asks for.
"""

import torch

from torchvision import datasets, io, models, ops, transforms, utils


@torch.library.register_fake("torchvision::nms")
def _nms(dets, scores, iou_threshold):
    return scores.new_empty(0, dtype=torch.long)
