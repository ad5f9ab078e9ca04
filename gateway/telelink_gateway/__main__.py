"""`python -m telelink_gateway`: run the gateway."""

from telelink_gateway.app import create_app
from telelink_gateway.settings import Settings
from telelink_shared.web.server import main

if __name__ == "__main__":
    main("gateway", Settings, create_app)
