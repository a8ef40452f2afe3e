"""The networks: their architectures, the Keras models, fast convolutions, and number formats."""
