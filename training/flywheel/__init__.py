"""The whole loop on the pocket model with simulated raters, measured: `worldline flywheel`."""
