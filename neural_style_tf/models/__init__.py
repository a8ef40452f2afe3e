"""The networks: their architectures, the Keras functional model, fast convolutions, precision."""
