"""The public API: each service takes what it needs from `app`, and speaks in `rpc`'s messages."""
