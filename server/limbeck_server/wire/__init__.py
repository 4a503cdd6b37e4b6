"""The wire's words: resource names, errors, and messages from and to what the server remembers."""
