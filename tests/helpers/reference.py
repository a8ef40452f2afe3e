"""Naive NumPy twins in float64 of everything numerical; slow, obvious, and independent of the package."""

import itertools

import numpy as np

MEAN = np.array([123.68, 116.779, 103.939])


def convolve(x, kernel, bias, padding="zero"):
    """SAME 3×3 convolution of [H, W, C]: nine shifted products."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), {"zero": "constant", "edge": "edge"}[padding])
    out = np.zeros((height, width, kernel.shape[-1])) + bias
    for i in range(3):
        for j in range(3):
            out += padded[i : i + height, j : j + width] @ kernel[i, j]
    return out


def convolve_backward(gradient, kernel):
    height, width, _ = gradient.shape
    padded = np.zeros((height + 2, width + 2, kernel.shape[2]))
    for i in range(3):
        for j in range(3):
            padded[i : i + height, j : j + width] += gradient @ kernel[i, j].T
    return padded[1:-1, 1:-1]


def _windows(x, fill):
    height, width, depth = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    padded = np.full((2 * rows, 2 * columns, depth), fill, float)
    padded[:height, :width] = x
    return (
        padded.reshape(rows, 2, columns, 2, depth).transpose(0, 2, 4, 1, 3).reshape(rows, columns, depth, 4)
    )


def pool(x, kind):
    if kind == "max":
        return _windows(x, -np.inf).max(-1)
    return _windows(x, 0).sum(-1) / _windows(np.ones_like(x), 0).sum(-1)


def pool_backward(gradient, x, kind):
    if kind == "max":
        windows = _windows(x, -np.inf)
        share = (np.arange(4) == windows.argmax(-1)[..., None]).astype(float)
    else:
        share = _windows(np.ones_like(x), 0)
        share = share / share.sum(-1, keepdims=True)
    rows, columns, depth, _ = share.shape
    spread = (share * gradient[..., None]).reshape(rows, columns, depth, 2, 2)
    full = spread.transpose(0, 3, 1, 4, 2).reshape(2 * rows, 2 * columns, depth)
    return full[: x.shape[0], : x.shape[1]]


def features(image, weights, layer_names, kind="max", padding="zero"):
    """All layers of [H, W, 3], in order, as {name: [H_l, W_l, N_l]}."""
    found, x = {"": image}, image
    for name in layer_names:
        if name.startswith("conv"):
            parameters = (weights.kernels[name].astype(float), weights.biases[name].astype(float))
            x = convolve(x, *parameters, padding)
        elif name.startswith("relu"):
            x = np.maximum(x, 0)
        else:
            x = pool(x, kind)
        found[name] = x
    return found


def gram(f):
    """G_ij = Σ_k F_ik F_jk, with loops over filters."""
    flat = f.reshape(-1, f.shape[-1])
    count = flat.shape[1]
    out = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            out[i, j] = sum(flat[:, i] * flat[:, j])
    return out


def fast_gram(f):
    flat = f.reshape(-1, f.shape[-1])
    return flat.T @ flat


def total_variation(x):
    dy, dx = np.diff(x, axis=0), np.diff(x, axis=1)
    return (np.mean(dy**2) if dy.size else 0.0) + (np.mean(dx**2) if dx.size else 0.0)


def total_variation_gradient(x):
    dy, dx = np.diff(x, axis=0), np.diff(x, axis=1)
    out = np.zeros_like(x)
    out[1:] += 2 * dy / dy.size
    out[:-1] -= 2 * dy / dy.size
    out[:, 1:] += 2 * dx / dx.size
    out[:, :-1] -= 2 * dx / dx.size
    return out


class OriginalObjective:
    """The 2017 repository's objective, written out with its own constants, with its gradient by hand."""

    content_layer = "relu4_2"
    style_layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

    def __init__(self, content, style, weights, layer_names):
        self.weights, self.names = weights, layer_names
        self.P = features(content - MEAN, weights, layer_names)[self.content_layer]
        found = features(style - MEAN, weights, layer_names)
        self.A = {name: fast_gram(found[name]) / found[name].size for name in self.style_layers}

    def __call__(self, image):
        found = features(image, self.weights, self.names)
        error = found[self.content_layer] - self.P
        content = np.mean(error**2)
        seeds = {self.content_layer: 5 * 2 * error / error.size}
        style = 0.0
        for name in self.style_layers:
            f = found[name]
            difference = fast_gram(f) / f.size - self.A[name]
            style += np.mean(difference**2)
            flat = f.reshape(-1, f.shape[-1])
            seed = 100 * 4 * (flat @ difference) / f.size / difference.size
            seeds[name] = seed.reshape(f.shape)
        variation = total_variation(image)
        total = 5 * content + 100 * style + 100 * variation
        gradient = self._backward(found, seeds) + 100 * total_variation_gradient(image)
        return {"total": total, "content": content, "style": style, "tv": variation}, gradient

    def _backward(self, found, seeds):
        order, gradient = ["", *self.names], 0.0
        for below, name in reversed(list(itertools.pairwise(order))):
            gradient = gradient + seeds.get(name, 0.0)
            if np.ndim(gradient) == 0:
                continue
            if name.startswith("conv"):
                gradient = convolve_backward(gradient, self.weights.kernels[name].astype(float))
            elif name.startswith("relu"):
                gradient = gradient * (found[name] > 0)
            else:
                gradient = pool_backward(gradient, found[below], "max")
        return gradient


def adam(objective, image, steps, rate=10.0, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Algorithm 1 of arXiv 1412.6980, with ε on √v as TensorFlow has it; return images and totals."""
    m, v, totals = np.zeros_like(image), np.zeros_like(image), []
    for t in range(1, steps + 1):
        terms, g = objective(image)
        totals.append(terms["total"])
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        step = rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        image = image - step * m / (np.sqrt(v) + epsilon)
    totals.append(objective(image)[0]["total"])
    return image, totals
