"""What is remembered: accounts, keys, the ledger and the billing log. Knows no HTTP."""
