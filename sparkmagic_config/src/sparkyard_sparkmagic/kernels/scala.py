"""The Scala kernel: a bare cell is Scala on Spark."""

from sparkyard_sparkmagic.kernels.launch import launch

if __name__ == "__main__":
    launch("sparkyard_sparkmagic.kernels.classes", "ScalaKernel", "spark")
