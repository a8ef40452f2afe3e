"""VGG-19: its architecture, the Keras functional model, fast convolutions, precision."""
