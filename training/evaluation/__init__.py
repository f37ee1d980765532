"""How good a process reward model is: figures that brute force confirms, over data with known labels."""
