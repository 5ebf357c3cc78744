"""Accounts: found, registered, changed and deleted; one use case, one transaction."""
