"""The kernels: one module each, which a kernelspec starts with ``python -m``."""
