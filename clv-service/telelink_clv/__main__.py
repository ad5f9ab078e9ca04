"""`python -m telelink_clv`: run the service."""

from telelink_clv.app import Settings, create_app
from telelink_shared.web.server import main

if __name__ == "__main__":
    main("clv-service", Settings, create_app)
