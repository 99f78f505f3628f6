"""The node's face over HTTP: what a request means, which answer it gets, and how both travel."""
