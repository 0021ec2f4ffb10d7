"""The TensorBoard plugin: loader, routes, the built frontend."""
