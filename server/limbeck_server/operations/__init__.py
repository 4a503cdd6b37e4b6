"""What an operator sees of a server, and how it starts to end: metrics, health, logs, traces, drain."""
