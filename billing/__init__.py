"""Pure arithmetic of money: what tokens cost, in integers, with nothing but the standard library."""
