"""The functions by which torchvision >= 0.14 registers, lists and builds its networks, and some small ones."""

from functools import partial
from types import SimpleNamespace

from torch import nn


def _net(channels, dimensions=2):
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    return conv(channels, 4, 3)


def smallnet(*, weights=None, in_channels=3):
    if weights is not None:
        raise AssertionError("weights were asked for")
    return _net(in_channels)


def inceptionish(*, weights=None):
    return _net(3)


def detector(*, weights=None, weights_backbone="DEFAULT"):
    if weights_backbone is not None:
        raise AssertionError("weights were asked for")

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = _net(3)

        def forward(self, images):
            return [self.conv(image[None]) for image in images]

    return Detector()


def clips(*, weights=None):
    return _net(3, 3)


def flow(*, weights=None):
    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = _net(3)

        def forward(self, image1, image2):
            return self.conv(image1) - self.conv(image2)

    return Flow()


class ImageClassification:
    pass


class ObjectDetection:
    pass


class VideoClassification:
    pass


class OpticalFlow:
    pass


_PRESETS = {
    smallnet: partial(ImageClassification, crop_size=224, resize_size=232),
    inceptionish: partial(ImageClassification, crop_size=299, resize_size=342),
    detector: ObjectDetection,
    clips: partial(VideoClassification, crop_size=(112, 112), resize_size=(128, 171)),
    flow: OpticalFlow,
}


def list_models():
    return sorted(builder.__name__ for builder in _PRESETS)


def get_model_builder(name):
    return next(builder for builder in _PRESETS if builder.__name__ == name)


def get_model_weights(name):
    return SimpleNamespace(DEFAULT=SimpleNamespace(transforms=_PRESETS[get_model_builder(name)]))
