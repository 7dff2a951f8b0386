"""What all papers share when they train: the loop, its checkpoints, its data and the export (PyTorch)."""
