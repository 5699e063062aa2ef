"""The stories on this machine. A package, so that its fixtures end with it."""
