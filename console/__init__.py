"""What account holders ask of us over HTTP: their balance, keys, billing log, payments. Nothing here is on the way of a call."""
