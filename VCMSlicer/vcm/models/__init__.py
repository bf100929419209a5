"""The networks: backbones, and the controls that steer them."""
