import enum


class ImageReadMode(enum.Enum):
    RGB = "RGB"


def decode_image(*args, **kwargs):
    raise NotImplementedError
