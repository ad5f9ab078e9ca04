"""`python -m telelink_churn`: run the service."""

from telelink_churn.app import Settings, create_app
from telelink_shared.web.server import main

if __name__ == "__main__":
    main("churn-service", Settings, create_app)
