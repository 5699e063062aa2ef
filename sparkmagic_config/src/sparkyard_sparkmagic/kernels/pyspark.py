"""The PySpark kernel: a bare cell is Python on Spark."""

from sparkyard_sparkmagic.kernels.launch import launch

if __name__ == "__main__":
    launch("sparkyard_sparkmagic.kernels.classes", "PySparkKernel")
