"""Sparkyard's Sparkmagic: kernels, authenticator and configuration as thin subclasses of Sparkmagic's own."""
