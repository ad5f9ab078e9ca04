"""Who may do what: API keys for programs, sessions for people at the page, and the guard that asks for either."""
