"""The simulator plays six model providers on one port, each in its own wire shape, so that nobody needs an account to try,
test or measure the gateway.

* It stands apart: it imports no other package of the project, and nothing but `find-token demo` and `simulate` starts it.
* The same request gets the same text. Ids and times differ from call to call, as they do at the real ones.
* What can go wrong upstream can be ordered (`faults.py`), and what was asked can be read back (`journal.py`).
"""
