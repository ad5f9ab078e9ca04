"""What two or more parts of TeleLink Customer Analytics must agree on.

Layers: `serving` (the model-service toolkit) over `web` (furniture of any HTTP service) over the plain
modules of this folder. Nothing in here imports a service or the training package.
"""
