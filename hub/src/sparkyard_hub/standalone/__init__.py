"""Sparkyard on one machine: the provider of demonstration users, hub and gateway, and what starts and stops them."""
