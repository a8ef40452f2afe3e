"""Turn an archive of arrays into a state dictionary: python npz_to_pth.py IN.npz OUT.pth."""

import sys

import numpy as np
import torch

source, target = sys.argv[1:]
with np.load(source) as arrays:
    torch.save({name: torch.from_numpy(arrays[name]) for name in arrays}, target)
