"""Transforms of pictures and tensors under torchvision's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image


class Compose:
    """Apply one after another."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self._transforms = transforms

    def __call__(self, value: Any) -> Any:
        """Return what the last returns."""
        for transform in self._transforms:
            value = transform(value)
        return value


class Lambda:
    """Apply a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, value: Any) -> Any:
        """Return what it returns."""
        return self._function(value)


class Resize:
    """Resize a picture to (height, width); one that has this size is left as it is."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = (size[1], size[0])

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Return the picture at that size."""
        if picture.size == self._size:
            return picture
        return picture.resize(self._size, Image.Resampling.BILINEAR)


class ToTensor:
    """Turn a picture into a tensor [N, H, W], 0–1."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Return the tensor."""
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255).contiguous()


class Normalize:
    """Subtract a mean from each channel and divide it by a deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(values).reshape(-1, 1, 1) for values in (mean, std))

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor, normalised."""
        return (tensor - self._mean) / self._std


class ToPILImage:
    """Turn a tensor [N, H, W], 0–1, into a picture."""

    def __call__(self, tensor: torch.Tensor) -> Image.Image:
        """Return the picture, its values rounded to 8 bits."""
        pixels = tensor.detach().mul(255).round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(pixels)
