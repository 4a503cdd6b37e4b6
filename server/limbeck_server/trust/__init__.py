"""Who may do what, and what nobody may do: identities, tokens, TLS, quotas, paths and archives."""
