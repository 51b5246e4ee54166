"""The server: the routes of the data plane, the relay, the configuration and the commands."""
