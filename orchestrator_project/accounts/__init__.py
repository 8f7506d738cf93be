"""Who may come in and what they may do: roles, sign-in, the second factor, and the record of both."""
