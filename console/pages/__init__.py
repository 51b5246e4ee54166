"""Pages for people: made on the server, without scripts, over the same functions as the account plane's routes."""
