"""The gateway: validates customers, asks both models, decides, remembers and replies."""
