from types import SimpleNamespace

CIFAR10 = CIFAR100 = MNIST = QMNIST = KMNIST = FashionMNIST = ImageFolder = SimpleNamespace
