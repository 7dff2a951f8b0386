"""Evaluation: models on photographs with holes, row by row; what the rows say, as tables, plots and a page."""
