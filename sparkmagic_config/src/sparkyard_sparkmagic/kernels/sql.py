"""The SQL kernel: a bare cell is an SQL statement."""

from sparkyard_sparkmagic.kernels.launch import launch

if __name__ == "__main__":
    launch("sparkyard_sparkmagic.kernels.classes", "SQLKernel")
