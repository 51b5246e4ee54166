"""Pages for operators: what they see of the books, and what they may do, beside the commands and by the same functions."""
