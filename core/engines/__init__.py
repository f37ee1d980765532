"""What generates text: one protocol, one file an implementation."""
