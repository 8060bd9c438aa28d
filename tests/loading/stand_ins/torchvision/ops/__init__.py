from torchvision.ops import misc
