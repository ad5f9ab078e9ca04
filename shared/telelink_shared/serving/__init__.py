"""The model-service toolkit: everything that two model services share. It knows no model by name."""
