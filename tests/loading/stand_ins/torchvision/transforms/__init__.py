from types import SimpleNamespace

from torchvision.transforms import functional
from torchvision.transforms.functional import InterpolationMode

Compose = RandomResizedCrop = CenterCrop = Resize = ToTensor = Normalize = RandomErasing = SimpleNamespace
