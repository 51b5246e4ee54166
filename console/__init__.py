"""The account plane: what a signed-in customer sees and does, and how they pay."""
