"""Nodes for ComfyUI: paint with neural-style-tf, in a process of its own."""

from .node import NeuralStyleTransfer

NODE_CLASS_MAPPINGS = {"NeuralStyleTransfer": NeuralStyleTransfer}
NODE_DISPLAY_NAME_MAPPINGS = {"NeuralStyleTransfer": "Neural Style Transfer"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
